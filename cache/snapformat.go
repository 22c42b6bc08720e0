package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// The form of a snapshot, all numbers big-endian or varints of encoding/binary:
//
//	magic, format version (2 bytes)
//	frame 'H': when it was taken, the namespace, how keys are made
//	frame 'E' for each response, those used last first
//	frame 'Z': the number of responses; nothing follows
//
// A frame is its kind (1 byte), the length of its fields (4), the length of its
// body (8), a checksum (4), the fields, the body, a checksum (4). A checksum is
// CRC-32C of all that came before it, without the checksums: so that nothing can
// be damaged, left out, doubled or put elsewhere without being noticed, and no
// length is believed before it was checked.
//
// Any change of this form, and of what the fields of an entry are, has a version
// of its own. A version is read by exactly the releases that write it: what is
// in a snapshot can be fetched again, and a form that is half understood can't
// be trusted with whom content is for.
const (
	snapshotMagic   = "HOLDFAST\r\n\x1a\n"
	snapshotVersion = 2

	frameHeader = 'H'
	frameEntry  = 'E'
	frameEnd    = 'Z'

	frameHeadSize = 1 + 4 + 8
	// maxSnapshotFields bounds the fields of one frame.
	maxSnapshotFields = 16 << 20
)

// ErrSnapshot is what every refusal of a snapshot by [Cache.Restore] wraps:
// damaged, truncated, of another version, of another cache, or none at all.
// Errors of the reader itself are not.
var ErrSnapshot = errors.New("not a usable snapshot")

func badSnapshot(format string, args ...any) error {
	return fmt.Errorf("cache: %w: %s", ErrSnapshot, fmt.Sprintf(format, args...))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotHeader is what frame 'H' says.
type snapshotHeader struct {
	taken     time.Time
	namespace string
	keys      string // how keys are made
	// point is how far the store's purges were when it was taken.
	point purgePoint
}

// snapshotEntry is one response as it is in a snapshot. Its times are spans, so
// that the clocks of the two processes need not agree.
type snapshotEntry struct {
	primary          string
	vary             []string
	variant          []byte
	status           int
	initialAge, held time.Duration    // its age when it was received, and since then
	idle             time.Duration    // since it was used last
	soft             bool             // purged softly
	shareable        bool             // it was for everybody, whoever asked
	grant            *semantics.Grant // of Config.Policy; nil = none
	tags             []string
	moreTags         bool // there were more
	header, trailer  http.Header
	body             [][]byte
	size             int64
}

// frameWriter writes frames. Its first error stays.
type frameWriter struct {
	w   io.Writer
	sum uint32
	err error
}

func (fw *frameWriter) raw(p []byte) {
	if fw.err == nil {
		_, fw.err = fw.w.Write(p)
	}
}

func (fw *frameWriter) bytes(p []byte) {
	fw.sum = crc32.Update(fw.sum, castagnoli, p)
	fw.raw(p)
}

func (fw *frameWriter) check() { fw.raw(binary.BigEndian.AppendUint32(nil, fw.sum)) }

func (fw *frameWriter) preamble() {
	fw.bytes(binary.BigEndian.AppendUint16([]byte(snapshotMagic), snapshotVersion))
}

func (fw *frameWriter) frame(kind byte, fields []byte, body [][]byte, size int64) {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(fields))) //nolint:gosec // at most maxSnapshotFields
	fw.bytes(binary.BigEndian.AppendUint64(head, uint64(size)))              //nolint:gosec // never negative
	fw.check()
	fw.bytes(fields)
	for _, chunk := range body {
		fw.bytes(chunk)
	}
	fw.check()
}

// frameReader reads frames. It allocates no more than a little beyond what really
// comes.
type frameReader struct {
	r   io.Reader
	sum uint32
}

func (fr *frameReader) raw(p []byte) error {
	_, err := io.ReadFull(fr.r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return badSnapshot("it is truncated")
	}
	if err != nil {
		return fmt.Errorf("cache: reading the snapshot: %w", err)
	}
	return nil
}

func (fr *frameReader) bytes(p []byte) error {
	if err := fr.raw(p); err != nil {
		return err
	}
	fr.sum = crc32.Update(fr.sum, castagnoli, p)
	return nil
}

func (fr *frameReader) check() error {
	var p [4]byte
	if err := fr.raw(p[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(p[:]) != fr.sum {
		return badSnapshot("it is damaged: a checksum does not match")
	}
	return nil
}

func (fr *frameReader) preamble() error {
	var p [len(snapshotMagic) + 2]byte
	if err := fr.bytes(p[:]); err != nil {
		return err
	}
	if string(p[:len(snapshotMagic)]) != snapshotMagic {
		return badSnapshot("it is something else")
	}
	if v := binary.BigEndian.Uint16(p[len(snapshotMagic):]); v != snapshotVersion {
		return badSnapshot("it has version %d, this release reads version %d", v, snapshotVersion)
	}
	return nil
}

// frameHead is the beginning of a frame.
type frameHead struct {
	kind   byte
	fields int
	size   int64
}

func (fr *frameReader) head() (frameHead, error) {
	var p [frameHeadSize]byte
	if err := fr.bytes(p[:]); err != nil {
		return frameHead{}, err
	}
	if err := fr.check(); err != nil {
		return frameHead{}, err
	}
	fields, size := binary.BigEndian.Uint32(p[1:]), binary.BigEndian.Uint64(p[5:])
	if fields > maxSnapshotFields || size > math.MaxInt64 {
		return frameHead{}, badSnapshot("it is malformed: a frame of %d and %d bytes", fields, size)
	}
	return frameHead{p[0], int(fields), int64(size)}, nil
}

// read reads n bytes in chunks, each made when what is before it has come.
func (fr *frameReader) read(n int64) ([][]byte, error) {
	var chunks [][]byte
	for n > 0 {
		p := make([]byte, min(n, maxChunk))
		if err := fr.bytes(p); err != nil {
			return nil, err
		}
		chunks = append(chunks, p)
		n -= int64(len(p))
	}
	return chunks, nil
}

// skip reads n bytes and keeps none.
func (fr *frameReader) skip(n int64) error {
	var p [4 << 10]byte
	for n > 0 {
		part := p[:min(n, int64(len(p)))]
		if err := fr.bytes(part); err != nil {
			return err
		}
		n -= int64(len(part))
	}
	return nil
}

// end is reached after the last frame.
func (fr *frameReader) end() error {
	var p [1]byte
	switch _, err := io.ReadFull(fr.r, p[:]); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("cache: reading the snapshot: %w", err)
	}
	return badSnapshot("it is damaged: there is something behind its end")
}

func appendString[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendHeader(b []byte, h http.Header) []byte {
	b = binary.AppendUvarint(b, uint64(len(h)))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		b = appendStrings(appendString(b, name), h[name])
	}
	return b
}

func (h *snapshotHeader) append(b []byte) []byte {
	b = binary.AppendVarint(b, h.taken.UnixNano())
	b = appendString(appendString(b, h.namespace), h.keys)
	for _, n := range [...]uint64{h.point.epoch, h.point.seq, h.point.missed} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (e *snapshotEntry) append(b []byte) []byte {
	b = appendString(b, e.primary)
	b = appendString(appendStrings(b, e.vary), e.variant)
	b = binary.AppendUvarint(b, uint64(e.status)) //nolint:gosec // never negative
	for _, d := range [...]time.Duration{e.initialAge, e.held, e.idle} {
		b = binary.AppendUvarint(b, uint64(max(d, 0)))
	}
	b = appendBool(appendBool(b, e.soft), e.shareable)
	b = appendBool(appendStrings(b, e.tags), e.moreTags)
	b = appendBool(b, e.grant != nil)
	if g := e.grant; g != nil {
		b = appendBool(b, g.Anyway)
		for _, d := range [...]time.Duration{g.TTL, g.SWR, g.SIE} {
			b = binary.AppendVarint(b, int64(d))
		}
	}
	return appendHeader(appendHeader(b, e.header), e.trailer)
}

// fieldReader takes fields apart. After anything that can't be, bad is set and
// all that follows is empty.
type fieldReader struct {
	b   []byte
	bad bool
}

func (f *fieldReader) fail() { f.b, f.bad = nil, true }

func (f *fieldReader) uint() uint64 {
	n, size := binary.Uvarint(f.b)
	if size <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[size:]
	return n
}

func (f *fieldReader) int() int64 {
	n, size := binary.Varint(f.b)
	if size <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[size:]
	return n
}

func (f *fieldReader) bool() bool {
	n := f.uint()
	if n > 1 {
		f.fail()
	}
	return n == 1
}

func (f *fieldReader) duration() time.Duration {
	n := f.uint()
	if n > math.MaxInt64 {
		f.fail()
		return 0
	}
	return time.Duration(n)
}

func (f *fieldReader) string() string {
	n := f.uint()
	if n > uint64(len(f.b)) {
		f.fail()
		return ""
	}
	s := string(f.b[:n])
	f.b = f.b[n:]
	return s
}

// count is a number of things of which each has at least one byte here.
func (f *fieldReader) count() int {
	n := f.uint()
	if n > uint64(len(f.b)) {
		f.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded above
}

func (f *fieldReader) strings() []string {
	var list []string
	for range f.count() {
		if f.bad {
			return nil
		}
		list = append(list, f.string())
	}
	return slices.Clip(list)
}

func (f *fieldReader) header() http.Header {
	h := make(http.Header)
	for range f.count() {
		name := f.string()
		if values := f.strings(); !f.bad {
			h[name] = values
		}
	}
	return h
}

// end tells whether all fields were there, and nothing else.
func (f *fieldReader) end() error {
	if f.bad || len(f.b) > 0 {
		return badSnapshot("it is malformed: the fields of a frame can't be read")
	}
	return nil
}

func parseSnapshotHeader(b []byte) (h snapshotHeader, err error) {
	f := fieldReader{b: b}
	h.taken = time.Unix(0, f.int())
	h.namespace, h.keys = f.string(), f.string()
	h.point = purgePoint{f.uint(), f.uint(), f.uint()}
	return h, f.end()
}

func parseSnapshotEntry(b []byte) (e snapshotEntry, err error) {
	f := fieldReader{b: b}
	e.primary, e.vary, e.variant = f.string(), f.strings(), []byte(f.string())
	status := f.uint()
	e.initialAge, e.held, e.idle = f.duration(), f.duration(), f.duration()
	e.soft, e.shareable, e.tags, e.moreTags = f.bool(), f.bool(), f.strings(), f.bool()
	if f.bool() {
		e.grant = &semantics.Grant{Anyway: f.bool(), TTL: time.Duration(f.int()), SWR: time.Duration(f.int()), SIE: time.Duration(f.int())}
	}
	e.header, e.trailer = f.header(), f.header()
	if err := f.end(); err != nil {
		return e, err
	}
	if status < 200 || status > 599 {
		return e, badSnapshot("it is malformed: a response with status %d", status)
	}
	e.status = int(status)
	return e, nil
}
