package errorpage

import (
	"testing"

	"github.com/holdfast-go/holdfast/failure"
)

func TestGroupOf(t *testing.T) {
	for _, tt := range []struct {
		cause  failure.Cause
		status int
		want   Group
	}{
		{failure.ConnectionRefused, 502, Unavailable},
		{failure.BreakerOpen, 503, Unavailable},
		{failure.Draining, 503, Unavailable},
		{failure.LocalLimit, 503, Unavailable},
		{failure.Shed, 503, Overloaded},
		{failure.QueueFull, 503, Overloaded},
		{failure.QueueTimeout, 503, Overloaded},
		{failure.ConnectionLimit, 503, Overloaded},
		{failure.Maintenance, 503, Maintenance},
		{failure.FirstByteTimeout, 504, Timeout},
		{failure.Panic, 500, Internal},
		{failure.RateLimited, 429, RateLimited},
		{failure.NoBackend, 404, NotFound},
		{failure.ClientBodyError, 400, BadRequest},
		{failure.ClientBodyError, 408, RequestTimeout},
		{failure.ClientBodyError, 413, TooLarge},
		{failure.Upstream5xx, 500, Internal},
		{failure.Upstream5xx, 503, Unavailable},
		{failure.Upstream5xx, 520, Unavailable},
		{failure.ClientBodyError, 418, Refused},
	} {
		if got := groupOf(failure.New(tt.cause, nil), tt.status); got != tt.want {
			t.Errorf("groupOf(%v, %d) = %v, want %v", tt.cause, tt.status, got, tt.want)
		}
	}
	if got := groupOf(nil, 503); got != Unavailable {
		t.Errorf("groupOf(nil, 503) = %v, want %v", got, Unavailable)
	}
}

func TestGroupNames(t *testing.T) {
	seen := map[string]bool{"": true, "group(?)": true}
	for g := range groups {
		if seen[g.String()] {
			t.Errorf("group %d has the name %q: want one of its own", g, g)
		}
		seen[g.String()] = true
	}
	if got := groups.String(); got != "group(?)" {
		t.Errorf("String of no group = %q", got)
	}
}
