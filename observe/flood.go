package observe

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	defaultLogRate  = 10
	defaultLogBurst = 20

	// maxKinds bounds the kinds of lines that are told apart. They come from
	// configuration and fixed sets, so that only a configuration that keeps
	// changing, or a foreign handler that makes up names, gets there; what comes
	// later shares one burst and one count per message.
	maxKinds = 1000
	// maxKindText bounds a name in a kind.
	maxKindText = 256

	// tellEvery is how often it is told what was left out, at most.
	tellEvery = time.Second
	// calmAfter is after how long without a line of a kind the next one is new
	// to whoever reads: it is never left out, however low the rate.
	calmAfter = 10 * time.Second
)

// kind is what lines have in common that say the same thing again. Nothing in it
// is chosen by a client.
type kind struct {
	refusal           // with a cause, whatever the line is about
	level             slog.Level
	message           string
	backend, endpoint string
	origin            string // of a panic: file and line
}

// attrs are the kind's in a line about it.
func (k kind) attrs() []slog.Attr {
	attrs := make([]slog.Attr, 0, 12)
	str := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	if k.cause != 0 {
		str("cause", k.cause.String())
	}
	str("backend", k.backend)
	str("endpoint", k.endpoint)
	str("breaker", k.breaker)
	str("limiter", k.limiter)
	str("limit", k.limit)
	str("origin", k.origin)
	return attrs
}

// rest is the kind that lines share whose own one there is no room for.
func (k kind) rest() kind { return kind{level: k.level, message: k.message, backend: other} }

// owned is k with texts of its own, for a key that outlives what they are part of.
func (k kind) owned() kind {
	for _, s := range []*string{&k.backend, &k.endpoint, &k.breaker, &k.limiter, &k.limit, &k.origin} {
		*s = strings.Clone(*s)
	}
	return k
}

// flow is what became of the lines of one kind.
type flow struct {
	tokens  float64
	last    time.Time // of a line, be it logged or left out
	leftOut int64     // since since; 0: nothing, or its end was told
	told    int64     // of leftOut
	since   time.Time // the first line that was left out
	total   prometheus.Counter
}

// floods bounds how many lines of one kind are logged: a burst in full, and then
// a rate. What was left out is told once a second, and when it is over. There is
// one timer for all kinds, and only while there is something to tell.
type floods struct {
	log     *slog.Logger
	rate    float64 // lines per second and kind; negative: every line is logged
	burst   float64
	leftOut func(message string) prometheus.Counter

	mu     sync.Mutex // guards what follows
	flows  map[kind]*flow
	swept  time.Time // when room was last looked for
	owing  map[kind]*flow
	timer  *time.Timer   // nil while nothing is owed
	told   chan struct{} // closed when what the timer began to tell is told; nil: it tells nothing
	closed bool
}

func newFloods(cfg Config, leftOut func(string) prometheus.Counter) *floods {
	f := &floods{log: cfg.Logger, rate: cfg.LogRate, burst: float64(cfg.LogBurst), leftOut: leftOut}
	if f.rate < 0 || f.burst < 0 {
		f.rate = -1
	}
	f.flows, f.owing = make(map[kind]*flow), make(map[kind]*flow)
	return f
}

// pass tells whether a line of the kind is to be logged; if not, it was counted.
// It allocates for a new kind only.
func (f *floods) pass(k kind) bool {
	if f.rate < 0 {
		return true
	}
	k.backend, k.endpoint = clip(k.backend, maxKindText), clip(k.endpoint, maxKindText)
	k.breaker, k.limiter, k.limit = clip(k.breaker, maxKindText), clip(k.limiter, maxKindText), clip(k.limit, maxKindText)
	k.origin = clip(k.origin, maxText)
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now() // inside, so that it never runs backwards for a flow
	w := f.flows[k]
	if w == nil {
		k, w = f.addLocked(k, now)
	}
	took := f.take(w, now)
	if took || f.closed { // then nobody would tell
		return true
	}
	w.total.Inc()
	if w.leftOut == 0 {
		w.since = now
		f.owing[k] = w
	}
	w.leftOut++
	if f.timer == nil {
		f.timer = time.AfterFunc(tellEvery, f.tell)
	}
	return false
}

// take takes a token for a line that comes now, if there is one.
func (f *floods) take(w *flow, now time.Time) bool {
	idle := now.Sub(w.last)
	w.last = now
	w.tokens = min(f.burst, w.tokens+idle.Seconds()*f.rate)
	if idle >= calmAfter {
		w.tokens = max(w.tokens, 1)
	}
	if w.tokens < 1 {
		return false
	}
	w.tokens--
	return true
}

// addLocked returns the flow of a kind that is new, or the one that it shares.
func (f *floods) addLocked(k kind, now time.Time) (kind, *flow) {
	if len(f.flows) >= maxKinds && now.Sub(f.swept) >= tellEvery {
		f.swept = now
		for old, w := range f.flows {
			idle := now.Sub(w.last)
			if w.leftOut == 0 && idle >= calmAfter && w.tokens+idle.Seconds()*f.rate >= f.burst {
				delete(f.flows, old) // a new one would be the same
			}
		}
	}
	if len(f.flows) >= maxKinds {
		k = k.rest() // there are as many more of these as there are messages and levels
		if w := f.flows[k]; w != nil {
			return k, w
		}
	}
	k = k.owned()
	w := &flow{tokens: f.burst, last: now, total: f.leftOut(k.message)}
	f.flows[k] = w
	return k, w
}

// notice is one line about lines that were left out.
type notice struct {
	kind
	leftOut int64
	since   time.Time
	over    bool
}

// dueLocked collects what is to be told. A flow of which nothing was left out
// since it was last told is over, and all are if ending.
func (f *floods) dueLocked(ending bool) []notice {
	due := make([]notice, 0, len(f.owing))
	for k, w := range f.owing {
		over := ending || w.leftOut == w.told
		due = append(due, notice{k, w.leftOut, w.since, over})
		w.told = w.leftOut
		if over {
			w.leftOut, w.told = 0, 0
			delete(f.owing, k)
		}
	}
	return due
}

// tell runs on the timer.
func (f *floods) tell() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	due := f.dueLocked(false)
	told := make(chan struct{})
	f.told = told
	f.mu.Unlock()

	defer func() { // also if the logger's handler panics
		close(told)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.told, f.timer = nil, nil
		if len(f.owing) > 0 && !f.closed {
			f.timer = time.AfterFunc(tellEvery, f.tell)
		}
	}()
	f.write(due)
}

func (f *floods) write(due []notice) {
	for _, n := range due {
		message := "lines left out"
		if n.over {
			message = "no more lines left out"
		}
		attrs := []slog.Attr{slog.String("of", n.message), slog.Int64("left_out", n.leftOut), slog.Time("since", n.since)}
		f.log.LogAttrs(context.Background(), n.level, message, append(attrs, n.attrs()...)...)
	}
}

// shutdown tells what is owed. From then on every line is logged.
func (f *floods) shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	told := f.told
	if f.timer != nil {
		f.timer.Stop()
	}
	due := f.dueLocked(true)
	f.mu.Unlock()

	var err error
	if told != nil { // its lines come before ours
		select {
		case <-told:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	f.write(due) //nolint:contextcheck // its lines belong to no request, and are written whatever ctx says
	return err
}

// panicOrigin is the place in a stack (runtime/debug.Stack) where the panic that
// was first began, as file:line; "" if there is none. It allocates nothing.
func panicOrigin(stack string) string {
	// What panicked again on its way up comes before what panicked first.
	at := strings.LastIndex(stack, "\npanic(")
	if at < 0 {
		return ""
	}
	rest := stack[at+1:]
	for {
		var call, place string
		var ok bool
		if call, rest, ok = strings.Cut(rest, "\n"); !ok {
			return ""
		}
		place, rest, _ = strings.Cut(rest, "\n")
		if strings.HasPrefix(call, "panic(") || strings.HasPrefix(call, "runtime.") {
			continue
		}
		place, _, _ = strings.Cut(strings.TrimPrefix(place, "\t"), " +0x")
		return place
	}
}
