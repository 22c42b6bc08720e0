package backend

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// checkHTTP sends the request and judges its answer.
func (a *attempt) checkHTTP(cfg *Health) (finding, error) {
	res, err := a.exchange(cfg.request(a.ep), func(*http.Response) {}) //nolint:bodyclose // the attempt owns it until finish
	if err != nil {
		return finding{}, err
	}
	content, whole, err := a.content(checkedBody)
	f := cfg.judge(res.StatusCode, content)
	if !f.good && err != nil && cfg.Body != "" {
		if ok, _ := wanted(cfg.Status, res.StatusCode); ok {
			return finding{}, err // what was looked for may have been in the rest
		}
	}
	if err == nil && whole {
		a.at.done = time.Now()
	}
	return f, nil
}

// judge tells what an answer says of the endpoint. It is a pure function. content
// is its beginning.
func (h *Health) judge(status int, content []byte) finding {
	line := fmt.Sprintf("%s: %d %s", h.subject(), status, http.StatusText(status))
	if ok, err := wanted(h.Status, status); !ok || err != nil {
		return finding{false, line + ", wanted " + firstOf(h.Status, defaultStatus)}
	}
	if h.Body == "" || bytes.Contains(content, []byte(h.Body)) {
		return finding{true, line}
	}
	where := ""
	if len(content) >= checkedBody {
		where = " in its first 64 kB"
	}
	return finding{false, fmt.Sprintf("%s, body does not contain %.100q%s; it begins %.60q", line, h.Body, where, content)}
}

// content reads the beginning of the body. whole tells that there is no more. The
// error is why it broke; what came before is there.
func (a *attempt) content(limit int) (content []byte, whole bool, err error) {
	var buf [4096]byte
	for len(content) < limit {
		n, err := a.read(buf[:min(len(buf), limit-len(content))])
		content = append(content, buf[:n]...)
		if ended(err) {
			return content, true, nil
		}
		if err != nil {
			return content, false, err
		}
	}
	return content, false, nil
}

// request is what an HTTP check sends.
func (h *Health) request(ep *endpoint) *request {
	u, err := url.ParseRequestURI(h.Path)
	if err != nil { // New has parsed it
		u = &url.URL{Path: "/"}
	}
	r := &http.Request{
		Method: firstOf(h.Method, http.MethodGet), URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {"holdfast-health"}}, Body: http.NoBody,
	}
	if ep.inProcess() {
		r.Host, r.RequestURI, r.RemoteAddr = firstOf(h.Host, ep.name), h.Path, "127.0.0.1:0"
		return &request{origin: r, http: r, client: discardWriter{http.Header{}}}
	}
	r.URL = ep.join(u)
	r.Host = firstOf(h.Host, unzoned(ep.url.Host))
	return &request{http: r, target: r.URL.RequestURI()}
}

// discardWriter stands for a client where there is none.
type discardWriter struct{ header http.Header }

func (d discardWriter) Header() http.Header       { return d.header }
func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (discardWriter) WriteHeader(int)             {}
