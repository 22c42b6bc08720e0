// Package backend reaches an origin, remote (a URL) or in-process (an
// http.Handler), and says exactly why it could not.
//
// A [Backend] is one named service with one or more endpoints. It is an
// http.Handler: give it the requests that the service is to answer.
//
//	origin, err := backend.New(backend.Config{
//		Endpoints: []backend.Endpoint{{URL: "http://10.0.0.1:8080"}, {URL: "http://10.0.0.2:8080"}},
//	})
//
// # One engine
//
// Every request goes through the same loop, whatever its endpoint is: pick an
// endpoint, ask its gate, attempt, classify, and either answer or try again.
// Whether a failed attempt may be repeated is decided by the row of its cause
// ([failure.Cause.Row]) and by nothing else.
//
// HTTP/1 connections are driven by this package itself, on the goroutine of the
// request: resolving, connecting, the TLS handshake, writing and reading happen
// under one timer whose phase is always known, so that every error has a typed
// cause and nothing is retried, buffered or decompressed out of sight. HTTP/2
// (negotiated over TLS, or h2c:// by prior knowledge) uses the connection type
// of net/http, [net/http.ClientConn], on connections that this package dialled.
//
// # What HTTP/2 can't tell
//
// The HTTP/2 implementation hides a few facts. This package watches the frames
// go by, which tells it of stalls in the middle of a header section
// ([Config.HeaderStall]), of sections over the limit and of whose reset it was.
// What remains hidden is the largest field of a section that is too large: it is
// compressed. When a frame breaks the rules of the whole connection, all its
// requests end as malformed. Its requests can't be upgraded: an upgrade to an
// https endpoint takes an HTTP/1 connection, one to an h2c or h2 endpoint fails
// with upgrade_failed.
//
// A content coding (gzip) is never verified here, so bad_content_coding does not
// arise: what the origin sent is passed on as it is.
//
// # TLS
//
// A body whose end is the end of the connection is whole only if the backend
// said so in TLS (close_notify, RFC 9112 section 9.8); otherwise it is truncated.
//
// # What is known of an endpoint
//
// Two judges take an endpoint out of use. The active check ([Config.Health]) asks
// it by HTTP, TCP or gRPC; the ejection ([Config.Ejection]) goes by what live
// traffic brought, as the row of each cause counts it, and compares endpoints with
// each other, so that an error that all give is held against none. Both are
// doubted when too few endpoints are left ([Config.PanicThreshold]): what they
// took out is used again unless live traffic confirms that it is dead. A check
// that says down while requests are answered is reported as wrong
// ([EndpointStatus.WrongCheck], [CheckDisputed]). [Backend.Status] has all of it.
//
// # What stands before an attempt
//
// [Config.MaxInFlight] and its kin limit the requests in flight, of the backend
// and of each endpoint. A request holds its slots until its response has ended, a
// handler's until the handler really returned, an upgraded connection's until it
// is closed. A full endpoint is passed over for another one; where all are full a
// request waits in one bounded queue, in order, or the newest first after the
// queue has refused for a second. The queue is emptied at once when no endpoint
// is left or the backend shuts down.
//
// Retries that send a request again are a share of the requests at most
// ([Config.RetryBudget]), so that a backend in trouble gets a fifth more of them,
// not three times as many. Retry-After in a 503 or 429 keeps that endpoint, for
// at most five minutes, out of the choice as long as there are others.
//
// With [Config.RestartWait] requests outlast a restart: while all endpoints
// refuse connections they wait, without attempts, for one to accept again. One
// goroutine tries that; who waited then goes in waves.
//
// # What is forwarded
//
// To a remote endpoint a request goes as RFC 9110 section 7.6 demands of an
// intermediary: fields of one hop are removed, Via and CDN-Loop name this
// backend (a request that already carries the name ends as loop), and
// X-Forwarded-For, -Host and -Proto say whom it came from. What the client
// claimed in them is dropped unless [Config.TrustForwarded] says otherwise.
// Bodies are never buffered beyond what a repetition may need
// ([Config.ReplayBody]); a Connection field can't take away what is meant for all
// recipients. TRACE and OPTIONS count Max-Forwards down; at 0 OPTIONS is answered
// and TRACE refused with 405, as CONNECT always is. Responses are flushed whenever the backend pauses. The
// header section of a response waits for the first bytes of its body, but not
// longer than 50 ms, so that a body that breaks at once is answered with an
// error or another attempt; an event stream's goes out at once.
// An in-process endpoint gets the request as it came.
//
// A response that breaks after its header went out is never completed: the
// failure is reported with the note after_headers and the connection aborted
// by panicking http.ErrAbortHandler; that of an HTTP/1.0 client, to whom its end
// could look regular, is reset.
package backend
