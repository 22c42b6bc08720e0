package breaker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// RoundTripper puts the breaker in front of rt, for outgoing calls; nil is
// [http.DefaultTransport]. A refused request is not sent: its body is closed, and
// the error is a *[failure.Error] with the cause breaker_open that matches
// [ErrOpen] (an http.Client wraps it: errors.As, errors.Is).
//
// A call is judged by its error, or by its status ([failure.CountsStatus]); of a
// good answer the end of the body is the success, also where the caller closes it
// before, and an error of reading it a failure. Half-open, the header section is
// the success. Whoever gave the call up ([context.Canceled], not a deadline) says
// nothing about the backend. Who does not close the body gets its verdict at
// SlowCall. An upgraded connection (101) counts as answered, and its body is
// handed on as it is.
//
// The RoundTripper has rt's CloseIdleConnections, if rt has one.
func (b *Breaker) RoundTripper(rt http.RoundTripper) http.RoundTripper {
	if rt == nil {
		rt = http.DefaultTransport
	}
	return &roundTripper{b: b, rt: rt, slow: b.hung()}
}

type roundTripper struct {
	b    *Breaker
	rt   http.RoundTripper
	slow time.Duration
}

// CloseIdleConnections is what http.Client.CloseIdleConnections looks for.
func (t *roundTripper) CloseIdleConnections() {
	if c, ok := t.rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements [http.RoundTripper].
func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	x := &outgoing{req: r}
	ctx := r.Context()
	if e := t.b.admit(ctx, &x.call, t.slow); e != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, e
	}
	returned := false
	defer func() {
		if !returned { // a panic, or the end of its goroutine: no word about the backend
			x.settle(ctx, verdict{outcome: neutral})
		}
	}()
	resp, err := t.rt.RoundTrip(r)
	returned = true
	if err != nil {
		x.settle(ctx, x.failed(ctx, err))
		return resp, err
	}
	if resp == nil { // which http.Client complains of; it is no word about the backend
		x.settle(ctx, verdict{outcome: neutral})
		return nil, nil //nolint:nilnil // as it came
	}
	x.answered.Store(true)
	x.heard()
	v := t.b.judge(nil, resp.StatusCode, false)
	whole := resp.Body == nil || resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols
	if v.outcome == failed || x.trial != nil || whole {
		x.settle(ctx, v)
		return resp, nil
	}
	x.body = resp.Body
	resp.Body = x
	return resp, nil
}

// outgoing is a call that is seen through its response body.
type outgoing struct {
	call
	req  *http.Request
	body io.ReadCloser
}

// failed judges an error of the call.
func (x *outgoing) failed(ctx context.Context, err error) verdict {
	if _, ours := errors.AsType[*failure.Error](err); !ours && clientGone(ctx) {
		return verdict{outcome: neutral}
	}
	return x.b.judgeError(err)
}

// Read implements [io.Reader].
func (x *outgoing) Read(p []byte) (int, error) {
	n, err := x.body.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		x.settle(x.req.Context(), verdict{outcome: succeeded})
	default:
		x.settle(x.req.Context(), x.failed(x.req.Context(), err))
	}
	return n, err
}

// Close implements [io.Closer].
func (x *outgoing) Close() error {
	err := x.body.Close()
	v := verdict{outcome: succeeded}
	if clientGone(x.req.Context()) {
		v.outcome = neutral
	}
	x.settle(x.req.Context(), v)
	return err
}
