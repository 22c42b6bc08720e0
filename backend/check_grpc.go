package backend

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The gRPC health checking protocol:
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md, over
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
const (
	grpcCheckPath = "/grpc.health.v1.Health/Check"
	grpcServing   = 1
	// grpcMessage bounds an answer: it is a few bytes long.
	grpcMessage = 4 << 10
)

var grpcStates = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

var grpcCodes = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
}

// checkGRPC calls Check and judges the answer.
func (a *attempt) checkGRPC(cfg *Health) (finding, error) {
	out := cfg.grpcRequest(a.ep)
	res, err := a.exchange(out, func(*http.Response) {}) //nolint:bodyclose // the attempt owns it until finish
	if err != nil {
		return finding{}, err
	}
	if a.conn != nil {
		return finding{false, cfg.subject() + ": the endpoint speaks HTTP/1.1, gRPC needs HTTP/2"}, nil
	}
	content, _, err := a.content(grpcMessage)
	f := grpcAnswer{res.StatusCode, res.Header, res.Trailer, content}.judge()
	if err != nil && !f.good && len(res.Trailer["Grpc-Status"]) == 0 {
		return finding{}, err
	}
	f.detail = cfg.subject() + ": " + f.detail
	return f, nil
}

// grpcRequest is a call of Check, with its one message.
func (h *Health) grpcRequest(ep *endpoint) *request {
	message := grpcFrame(h.Service)
	u := &url.URL{Path: grpcCheckPath}
	timeout := strconv.FormatInt(max(1, h.Timeout.Milliseconds()), 10) + "m"
	if len(timeout) > 9 { // eight digits at most
		timeout = "99999999m"
	}
	r := &http.Request{
		Method: http.MethodPost, URL: u, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: http.Header{
			"Content-Type": {"application/grpc+proto"}, "User-Agent": {"holdfast-health"}, "Grpc-Timeout": {timeout},
		},
		ContentLength: int64(len(message)),
	}
	q := &request{
		http: r, length: int64(len(message)), te: true, trailers: func() http.Header { return nil },
		body: newUpload(bytes.NewReader(message), int64(len(message)), int64(len(message))).reader(),
	}
	if ep.inProcess() {
		r.Header.Set("Te", "trailers")
		r.Host, r.RequestURI, r.RemoteAddr = firstOf(h.Host, ep.name), grpcCheckPath, "127.0.0.1:0"
		q.origin, q.client = r, discardWriter{http.Header{}}
		return q
	}
	r.URL = ep.join(u)
	r.Host = firstOf(h.Host, unzoned(ep.url.Host))
	q.target = r.URL.RequestURI()
	return q
}

// grpcFrame is a HealthCheckRequest with its prefix: not compressed, and its
// length. The service is its field 1.
func grpcFrame(service string) []byte {
	var message []byte
	if service != "" {
		message = append(message, 1<<3|2)
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(frame, message...)
}

// grpcAnswer is what came of a call.
type grpcAnswer struct {
	status          int
	header, trailer http.Header
	content         []byte
}

// judge tells what it says of the server. It is a pure function.
func (g grpcAnswer) judge() finding {
	if g.status != http.StatusOK {
		return finding{false, fmt.Sprintf("%d %s, wanted 200", g.status, http.StatusText(g.status))}
	}
	if kind := g.header.Get("Content-Type"); kind != "application/grpc" && !strings.HasPrefix(kind, "application/grpc+") && !strings.HasPrefix(kind, "application/grpc;") {
		return finding{false, fmt.Sprintf("content type %.60q, wanted application/grpc", kind)}
	}
	// Trailers alone are one header section.
	from := g.trailer
	if len(from["Grpc-Status"]) == 0 {
		from = g.header
	}
	text := from.Get("Grpc-Status")
	if text == "" {
		return finding{false, "no grpc-status"}
	}
	code, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return finding{false, fmt.Sprintf("grpc-status %.60q is no number", text)}
	}
	if code != 0 {
		name := ""
		if code < uint64(len(grpcCodes)) {
			name = " " + grpcCodes[code]
		}
		detail := fmt.Sprintf("grpc-status %d%s", code, name)
		if m := from.Get("Grpc-Message"); m != "" {
			if plain, err := url.PathUnescape(m); err == nil {
				m = plain
			}
			detail += fmt.Sprintf(": %.200q", m)
		}
		return finding{false, detail}
	}
	state, err := grpcState(g.content)
	if err != nil {
		return finding{false, err.Error()}
	}
	name := strconv.FormatUint(state, 10)
	if state < uint64(len(grpcStates)) {
		name = grpcStates[state]
	}
	if state != grpcServing {
		return finding{false, name + ", wanted SERVING"}
	}
	return finding{true, name}
}

var (
	errGRPCMessage    = errors.New("the answer is not one whole message")
	errGRPCCompressed = errors.New("the answer is compressed, which was not asked for")
	errGRPCCoding     = errors.New("the answer is no HealthCheckResponse")
)

// grpcState is the status in a HealthCheckResponse: its field 1, 0 if it is not
// there. Of several the last counts, and other fields are passed over.
func grpcState(content []byte) (uint64, error) {
	if len(content) < 5 || uint64(binary.BigEndian.Uint32(content[1:5])) != uint64(len(content)-5) {
		return 0, errGRPCMessage
	}
	if content[0] != 0 {
		return 0, errGRPCCompressed
	}
	var state uint64
	for rest := content[5:]; len(rest) > 0; {
		key, n := binary.Uvarint(rest)
		if n <= 0 || key>>3 == 0 {
			return 0, errGRPCCoding
		}
		rest = rest[n:]
		var skip uint64
		switch key & 7 {
		case 0: // varint
			v, n := binary.Uvarint(rest)
			if n <= 0 {
				return 0, errGRPCCoding
			}
			if skip = uint64(n); key>>3 == 1 {
				state = v
			}
		case 1: // 64 bits
			skip = 8
		case 2: // with its length
			size, n := binary.Uvarint(rest)
			if n <= 0 || size > uint64(len(rest)) {
				return 0, errGRPCCoding
			}
			skip = size + uint64(n)
		case 5: // 32 bits
			skip = 4
		default:
			return 0, errGRPCCoding
		}
		if skip > uint64(len(rest)) {
			return 0, errGRPCCoding
		}
		rest = rest[skip:]
	}
	return state, nil
}
