package failure

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ianaErrors are the error types registered by RFC 9209 section 2.3.
var ianaErrors = strings.Fields(`dns_timeout dns_error destination_not_found destination_unavailable
	destination_ip_prohibited destination_ip_unroutable connection_refused connection_terminated connection_timeout
	connection_read_timeout connection_write_timeout connection_limit_reached tls_protocol_error tls_certificate_error
	tls_alert_received http_request_error http_request_denied http_response_incomplete
	http_response_header_section_size http_response_header_size http_response_body_size
	http_response_trailer_section_size http_response_trailer_size http_response_transfer_coding
	http_response_content_coding http_response_timeout http_upgrade_failed http_protocol_error
	proxy_internal_response proxy_internal_error proxy_configuration_error proxy_loop_detected`)

func TestTableIsComplete(t *testing.T) {
	token := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	seen := map[string]bool{}
	for _, c := range Causes() {
		r := c.Row()
		if r.Cause != c {
			t.Errorf("%v: Row().Cause = %v", c, r.Cause)
		}
		if !token.MatchString(r.Token) || seen[r.Token] {
			t.Errorf("cause %d: token %q is no token or not the only one", c, r.Token)
		}
		seen[r.Token] = true
		if r.Status == 0 && c != Upstream5xx && c != Upstream429 && c != ClientGone {
			t.Errorf("%v: no status", c)
		}
		if r.Status != 0 && http.StatusText(r.Status) == "" {
			t.Errorf("%v: status %d", c, r.Status)
		}
		if (r.ProxyError == "") != (r.Status == 0) {
			t.Errorf("%v: ProxyError = %q with status %d", c, r.ProxyError, r.Status)
		}
		if r.ProxyError != "" && !slices.Contains(ianaErrors, r.ProxyError) {
			t.Errorf("%v: ProxyError %q is not registered", c, r.ProxyError)
		}
		if r.Hint == "" || !strings.HasSuffix(r.Hint, ".") {
			t.Errorf("%v: hint %q", c, r.Hint)
		}
		if r.CountsIf != Always && r.Counts == Neutral {
			t.Errorf("%v: a condition on a verdict that never counts", c)
		}
		if back, ok := ParseCause(r.Token); !ok || back != c {
			t.Errorf("ParseCause(%q) = %v, %v", r.Token, back, ok)
		}
	}
	if n := len(Causes()); n != 49 {
		t.Errorf("len(Causes()) = %d, want 49", n)
	}
}

func TestNoCause(t *testing.T) {
	if _, ok := ParseCause(""); ok {
		t.Error(`ParseCause("") found a cause`)
	}
	for _, c := range []Cause{0, numCauses, 255} {
		if r := c.Row(); r.Token != "" || r.Status != 0 {
			t.Errorf("Cause(%d).Row() = %+v, want the zero Row", c, r)
		}
		if !strings.HasPrefix(c.String(), "cause(") {
			t.Errorf("Cause(%d).String() = %q", c, c.String())
		}
	}
}
