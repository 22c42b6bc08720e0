package failure

// Row is what follows from a cause. All fields are data: nothing in the
// project decides by cause outside this table.
type Row struct {
	Cause Cause
	// Token is the cause's name in logs, metrics and the cause parameter of
	// Proxy-Status.
	Token string
	// Status is sent when nothing better can be served. 0 means that there is
	// none: the origin's own answer passes as sent, or nobody is there to read
	// one.
	Status int
	// ProxyError is the error type of RFC 9209 section 2.3; "" where an error
	// would be untrue (the origin answered) or unread (the client left).
	ProxyError string
	Retry      Retry
	Counts     Verdict
	// CountsIf narrows Counts by the facts of the Error; see [Error.Verdict].
	CountsIf Condition
	Stale    Stale
	// Share tells whether those who wait for the same fetch get this answer
	// too. Where it is false the reason was the leader's own, and each follower
	// fetches for itself.
	Share bool
	// Hint is for the operator. It is never shown to visitors.
	Hint string
}

// Retry says whether and how another attempt may follow. The zero Retry is
// never.
type Retry struct {
	Methods  Methods
	Endpoint Endpoint
	// Once limits a request to one retry for this cause.
	Once bool
	// Fresh demands a connection that has carried no request before.
	Fresh bool
	// Statuses limits retries to these received statuses; nil is no limit.
	Statuses []int
}

// Methods is a set of request methods by their properties (RFC 9110 section
// 9.2).
type Methods uint8

// The sets of methods for which a cause permits a retry.
const (
	NoMethod          Methods = iota // never
	ReadMethods                      // GET and HEAD
	IdempotentMethods                // RFC 9110 section 9.2.2, with a replayable body and no response byte yet
	AnyMethod                        // nothing had been sent
)

// Endpoint is the choice of endpoint for a retry.
type Endpoint uint8

// The choices of endpoint for a retry.
const (
	SameEndpoint Endpoint = iota // whichever the balancer picks
	PreferOther                  // another one if there is one
	RequireOther                 // only where there is another one
)

// Verdict is what a breaker and passive health make of a failure.
type Verdict uint8

// The verdicts.
const (
	Neutral        Verdict = iota // says nothing about the backend
	BackendFailure                // the backend failed
	LocalFailure                  // the backend could not even be asked
)

// Condition narrows the verdict of a row by the facts of one Error.
type Condition uint8

// The conditions.
const (
	Always             Condition = iota
	IfRetried                    // not at the first attempt
	IfRequestWritten             // the request had been sent whole
	UnlessNotSupported           // not for 501 and 505
	IfHandlerIsBackend           // an in-process endpoint
)

// Stale tells whether a stored response may be served instead.
type Stale uint8

// The rules for stale content. The directives of the stored response
// (must-revalidate and its kin) stand above all of them.
const (
	StaleNo         Stale = iota
	StaleYes              // yes
	StaleOptIn            // only where the configuration asks for it
	StaleByPosition       // where the failing part stands inside the cache
)

// Shorthands that keep the table legible.
var (
	never     = Retry{}
	anyOther  = Retry{Methods: AnyMethod, Endpoint: PreferOther}
	onlyOther = Retry{Methods: AnyMethod, Endpoint: RequireOther}
	idem      = Retry{Methods: IdempotentMethods}
	idemOnce  = Retry{Methods: IdempotentMethods, Endpoint: RequireOther, Once: true}
	raced     = Retry{Methods: IdempotentMethods, Once: true, Fresh: true}
	anyMethod = Retry{Methods: AnyMethod}
	answered  = Retry{Methods: ReadMethods, Endpoint: RequireOther, Once: true, Statuses: []int{500, 502, 503, 504}}
)

// table is indexed by Cause.
var table = [numCauses]Row{
	DNSNotFound: {
		Token: "dns_not_found", Status: 502, ProxyError: "dns_error", Retry: anyOther, Counts: LocalFailure, Stale: StaleYes, Share: true,
		Hint: "The name does not resolve: it was renamed or removed, or the search domain is wrong.",
	},
	DNSTimeout: {
		Token: "dns_timeout", Status: 504, ProxyError: "dns_timeout", Retry: anyOther, Counts: LocalFailure, Stale: StaleYes, Share: true,
		Hint: "The resolver is slow or cannot be reached.",
	},
	Unroutable: {
		Token: "unroutable", Status: 502, ProxyError: "destination_ip_unroutable", Retry: anyOther, Counts: LocalFailure, Stale: StaleYes, Share: true,
		Hint: "There is no route to the address: look at routes, firewall and VPN.",
	},
	ConnectionRefused: {
		Token: "connection_refused", Status: 502, ProxyError: "connection_refused", Retry: anyOther, Counts: LocalFailure, Stale: StaleYes, Share: true,
		Hint: "Nothing listens there: the backend is stopped or still starting, the port is wrong, or localhost means ::1.",
	},
	ConnectTimeout: {
		Token: "connect_timeout", Status: 504, ProxyError: "connection_timeout", Retry: anyOther, Counts: LocalFailure, Stale: StaleYes, Share: true,
		Hint: "Packets are dropped (firewall), or the listen queue is full (overload).",
	},
	LocalLimit: {
		Token: "local_limit", Status: 503, ProxyError: "proxy_internal_error", Retry: never, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "This proxy ran out of ports, file descriptors or permission; the backend is not to blame.",
	},
	ConnectionLimit: {
		Token: "connection_limit", Status: 503, ProxyError: "connection_limit_reached", Retry: onlyOther, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "All permitted requests are in flight: the backend is slow, or the limit is too low.",
	},
	QueueTimeout: {
		Token: "queue_timeout", Status: 503, ProxyError: "connection_limit_reached", Retry: never, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "Waited in vain for a free slot: saturation. Add capacity, not queue.",
	},
	QueueFull: {
		Token: "queue_full", Status: 503, ProxyError: "connection_limit_reached", Retry: onlyOther, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "The waiting line is full: saturation.",
	},
	TLSTimeout: {
		Token: "tls_timeout", Status: 504, ProxyError: "connection_timeout", Retry: anyOther, Counts: LocalFailure, Stale: StaleYes, Share: true,
		Hint: "The port speaks no TLS, or its CPU is starved.",
	},
	TLSProtocol: {
		Token: "tls_protocol", Status: 502, ProxyError: "tls_protocol_error", Retry: anyOther, Counts: LocalFailure, Stale: StaleYes, Share: true,
		Hint: "Plaintext on a TLS port or the reverse, or no common TLS version.",
	},
	TLSCertificate: {
		Token: "tls_certificate", Status: 502, ProxyError: "tls_certificate_error", Retry: anyOther, Counts: LocalFailure, Stale: StaleYes, Share: true,
		Hint: "The certificate is expired, has another name, or comes from an unknown authority; the detail gives names and dates.",
	},
	TLSAlert: {
		Token: "tls_alert", Status: 502, ProxyError: "tls_alert_received", Retry: anyOther, Counts: LocalFailure, Stale: StaleYes, Share: true,
		Hint: "The backend refused us in the TLS handshake: look at the server name and the client certificate.",
	},
	KeepaliveRace: {
		Token: "keepalive_race", Status: 502, ProxyError: "connection_terminated", Retry: raced, Counts: BackendFailure, CountsIf: IfRetried, Stale: StaleYes, Share: false,
		Hint: "The backend closes idle connections sooner than this proxy does: lower the idle time here or raise it there.",
	},
	ClosedBeforeHeaders: {
		Token: "closed_before_headers", Status: 502, ProxyError: "connection_terminated", Retry: idem, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "The backend crashed, was killed or was recycled while it worked on this URL.",
	},
	ResetBeforeHeaders: {
		Token: "reset_before_headers", Status: 502, ProxyError: "connection_terminated", Retry: idem, Counts: BackendFailure, CountsIf: IfRequestWritten, Stale: StaleYes, Share: true,
		Hint: "The backend crashed or was killed while it worked on this URL, or it refused an upload early.",
	},
	StreamRefused: {
		Token: "stream_refused", Status: 502, ProxyError: "connection_terminated", Retry: anyMethod, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "HTTP/2 REFUSED_STREAM, or a GOAWAY that excludes the request: the backend is going away or has too many streams.",
	},
	WriteTimeout: {
		Token: "write_timeout", Status: 504, ProxyError: "connection_write_timeout", Retry: never, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "The backend does not read the request: it is stalled.",
	},
	FirstByteTimeout: {
		Token: "first_byte_timeout", Status: 504, ProxyError: "connection_read_timeout", Retry: idemOnce, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "No answer in time: a slow query, a lock, a dead dependency. The work may still have been done.",
	},
	HeaderStall: {
		Token: "header_stall", Status: 504, ProxyError: "connection_read_timeout", Retry: idemOnce, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "The backend began its headers, then stalled.",
	},
	BodyStall: {
		Token: "body_stall", Status: 504, ProxyError: "connection_read_timeout", Retry: never, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "The backend hung in the middle of the body.",
	},
	TotalDeadline: {
		Token: "total_deadline", Status: 504, ProxyError: "http_response_timeout", Retry: never, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "The budget until final headers (queue, attempts, back-off) is spent; the phases tell where it went.",
	},
	Truncated: {
		Token: "truncated", Status: 502, ProxyError: "http_response_incomplete", Retry: idem, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "The body ended before its announced length: a worker was killed, or Content-Length is wrong.",
	},
	BadChunking: {
		Token: "bad_chunking", Status: 502, ProxyError: "http_response_transfer_coding", Retry: never, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "The body is not chunked as announced: something prints raw output.",
	},
	BadContentCoding: {
		Token: "bad_content_coding", Status: 502, ProxyError: "http_response_content_coding", Retry: never, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "The body is not in the content coding that it claims.",
	},
	HeadersTooLarge: {
		Token: "headers_too_large", Status: 502, ProxyError: "http_response_header_section_size", Retry: never, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "The response's headers exceed the limit; the detail names the largest one.",
	},
	Malformed: {
		Token: "malformed", Status: 502, ProxyError: "http_protocol_error", Retry: never, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "What came is not HTTP: wrong port, TLS, a banner; the detail gives the first bytes.",
	},
	BadFraming: {
		Token: "bad_framing", Status: 502, ProxyError: "http_protocol_error", Retry: never, Counts: BackendFailure, Stale: StaleYes, Share: true,
		Hint: "Two different lengths, or a transfer coding that is unknown.",
	},
	BadValidation: {
		Token: "bad_validation", Status: 502, ProxyError: "http_protocol_error", Retry: idem, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "A 304 or a 206 that nobody asked for.",
	},
	UpgradeFailed: {
		Token: "upgrade_failed", Status: 502, ProxyError: "http_upgrade_failed", Retry: never, Counts: BackendFailure, Stale: StaleNo, Share: true,
		Hint: "The backend switched to another protocol than the one asked for, or the switch broke.",
	},
	Upstream5xx: {
		Token: "upstream_5xx", Retry: answered, Counts: BackendFailure, CountsIf: UnlessNotSupported, Stale: StaleYes, Share: true,
		Hint: "The backend answered with an error of its own: read its log under our request id. With Retry-After it is in maintenance or overloaded until then.",
	},
	Upstream429: {
		Token: "upstream_429", Retry: never, Counts: Neutral, Stale: StaleOptIn, Share: true,
		Hint: "The backend throttles this proxy.",
	},
	EndpointDown: {
		Token: "endpoint_down", Status: 503, ProxyError: "destination_unavailable", Retry: onlyOther, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "The active health check failed; the detail has what it wanted and what it got. If live traffic is fine, the check is wrong.",
	},
	EndpointEjected: {
		Token: "endpoint_ejected", Status: 503, ProxyError: "destination_unavailable", Retry: onlyOther, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "The endpoint was taken out of rotation for a while after failures of live traffic.",
	},
	HeldDown: {
		Token: "held_down", Status: 503, ProxyError: "destination_unavailable", Retry: onlyOther, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "Not tried again for a moment after connection_refused or local_limit.",
	},
	NoEndpoint: {
		Token: "no_endpoint", Status: 503, ProxyError: "destination_unavailable", Retry: never, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "None of the endpoints may be used; the detail has each one's reason.",
	},
	BreakerOpen: {
		Token: "breaker_open", Status: 503, ProxyError: "destination_unavailable", Retry: never, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "The circuit breaker is open; the detail has the rule that tripped, the sample, the next trial and the last cause.",
	},
	NoBackend: {
		Token: "no_backend", Status: 404, ProxyError: "destination_not_found", Retry: never, Counts: Neutral, Stale: StaleNo, Share: true,
		Hint: "No route matches this host and path.",
	},
	RateLimited: {
		Token: "rate_limited", Status: 429, ProxyError: "http_request_error", Retry: never, Counts: Neutral, Stale: StaleYes, Share: false,
		Hint: "The client exceeded its rate.",
	},
	Shed: {
		Token: "shed", Status: 503, ProxyError: "connection_limit_reached", Retry: never, Counts: Neutral, Stale: StaleYes, Share: false,
		Hint: "Turned away to keep the backend within its capacity; the detail has limit, requests in flight and latencies.",
	},
	ClientGone: {
		Token: "client_gone", Retry: never, Counts: Neutral, Stale: StaleNo, Share: false,
		Hint: "The client left before it was answered.",
	},
	ClientBodyError: {
		Token: "client_body_error", Status: 400, ProxyError: "http_request_error", Retry: never, Counts: Neutral, Stale: StaleNo, Share: false,
		Hint: "The client's upload was slow (408), broken (400) or too large (413).",
	},
	Maintenance: {
		Token: "maintenance", Status: 503, ProxyError: "proxy_internal_response", Retry: never, Counts: Neutral, Stale: StaleByPosition, Share: true,
		Hint: "Maintenance mode is on.",
	},
	Loop: {
		Token: "loop", Status: 502, ProxyError: "proxy_loop_detected", Retry: never, Counts: Neutral, Stale: StaleNo, Share: false,
		Hint: "This proxy's backend is this proxy.",
	},
	FillTimeout: {
		Token: "fill_timeout", Status: 504, ProxyError: "http_response_timeout", Retry: never, Counts: Neutral, Stale: StaleYes, Share: false,
		Hint: "Waited too long behind another request's fetch of the same content.",
	},
	Panic: {
		Token: "panic", Status: 500, ProxyError: "proxy_internal_error", Retry: never, Counts: BackendFailure, CountsIf: IfHandlerIsBackend, Stale: StaleYes, Share: true,
		Hint: "A handler panicked; the stack is in the log.",
	},
	HandlerAbort: {
		Token: "handler_abort", Status: 502, ProxyError: "connection_terminated", Retry: never, Counts: Neutral, Stale: StaleYes, Share: false,
		Hint: "A handler aborted its response on purpose (http.ErrAbortHandler).",
	},
	OnlyIfCached: {
		Token: "only_if_cached", Status: 504, ProxyError: "proxy_internal_response", Retry: never, Counts: Neutral, Stale: StaleNo, Share: true,
		Hint: "The client asked for stored content only, and there was none.",
	},
	Draining: {
		Token: "draining", Status: 503, ProxyError: "proxy_internal_response", Retry: never, Counts: Neutral, Stale: StaleYes, Share: true,
		Hint: "This proxy is shutting down.",
	},
}

func init() {
	for c := range table {
		table[c].Cause = Cause(c)
	}
}
