package backend

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func ips(text string) []netip.Addr {
	var all []netip.Addr
	for one := range strings.FieldsSeq(text) {
		all = append(all, netip.MustParseAddr(one))
	}
	return all
}

func TestOrdered(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"10.0.0.2 10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"},
		{"fd00::1 10.0.0.2 fd00::1 10.0.0.1", "fd00::1 10.0.0.1 10.0.0.2"},
		{"10.0.0.2 fd00::2 10.0.0.1 fd00::1", "10.0.0.1 10.0.0.2 fd00::1 fd00::2"},
		{"::ffff:10.0.0.1 10.0.0.1", "10.0.0.1"},
	} {
		got := ordered(ips(tt.in))
		if list(got) != list(ips(tt.want)) {
			t.Errorf("ordered(%s) = %v, want %s", tt.in, got, tt.want)
		}
	}
	many := make([]netip.Addr, 300)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, byte((299 - i) / 256), byte(299 - i)})
	}
	got := ordered(many)
	if len(got) != maxAddresses || got[0] != netip.MustParseAddr("10.0.0.0") || got[63] != netip.MustParseAddr("10.0.0.63") {
		t.Errorf("ordered(300 addresses) has %d, %v to %v, want the first 64 of them", len(got), got[0], got[len(got)-1])
	}
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		in    string
		inUse int
		want  []string // own / spare
	}{
		{"10.0.0.1", 0, []string{"10.0.0.1 / "}},
		{"fd00::1 10.0.0.1", 0, []string{"fd00::1 10.0.0.1 / "}},
		{"10.0.0.1 fd00::1", 6, []string{"10.0.0.1 fd00::1 / "}},
		{"10.0.0.1 10.0.0.2", 0, []string{"10.0.0.1 / ", "10.0.0.2 / "}},
		{"fd00::1 10.0.0.1 10.0.0.2", 0, []string{"10.0.0.1 / fd00::1", "10.0.0.2 / fd00::1"}},
		{"fd00::1 fd00::2 10.0.0.1", 4, []string{"fd00::1 / 10.0.0.1", "fd00::2 / 10.0.0.1"}},
		{"fd00::1 fd00::2 10.0.0.1 10.0.0.2", 0, []string{"fd00::1 / 10.0.0.1 10.0.0.2", "fd00::2 / 10.0.0.2 10.0.0.1"}},
		{"fd00::1 fd00::2 10.0.0.1 10.0.0.2", 6, []string{"fd00::1 / 10.0.0.1 10.0.0.2", "fd00::2 / 10.0.0.2 10.0.0.1"}},
		{"fd00::1 fd00::2 10.0.0.1 10.0.0.2", 4, []string{"10.0.0.1 / fd00::1 fd00::2", "10.0.0.2 / fd00::2 fd00::1"}},
	} {
		var got []string
		for _, p := range spread(ips(tt.in), tt.inUse) {
			got = append(got, strings.ReplaceAll(list(p.addrs), ",", "")+" / "+strings.ReplaceAll(list(p.spare), ",", ""))
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("spread(%s, %d): -want +got\n%s", tt.in, tt.inUse, d)
		}
	}
}

// TestAssign has endpoints stay where their addresses do.
func TestAssign(t *testing.T) {
	was := &source{target: target{name: "app:80"}}
	has := func(name, addrs string) {
		was.endpoints = append(was.endpoints, &endpoint{target: target{name: name}})
		was.settings = append(was.settings, &settings{place: place{addrs: ips(addrs)}})
	}
	places := func(all ...string) []place {
		var p []place
		for _, one := range all {
			p = append(p, place{addrs: ips(one)})
		}
		return p
	}
	check := func(what string, places []place, want ...int) {
		t.Helper()
		if got := assign(places, was); !cmp.Equal(got, want) {
			t.Errorf("%s: assign = %v, want %v", what, got, want)
		}
	}
	check("nothing there", places("10.0.0.1"), -1)
	has("app:80", "")
	check("first answer", places("10.0.0.1", "10.0.0.2"), 0, -1)
	check("still none", []place{{}}, 0)
	was.endpoints, was.settings = nil, nil
	has("app:80", "10.0.0.2")
	has("app:80@10.0.0.1", "10.0.0.1")
	has("app:80@10.0.0.3", "10.0.0.3")
	check("one gone, one new", places("10.0.0.1", "10.0.0.3", "10.0.0.4"), 1, 2, -1)
	check("all gone", places("10.0.0.8"), -1)
	check("no longer followed", []place{{}}, 0)
	was.endpoints, was.settings = nil, nil
	has("app:80", "fd00::1 10.0.0.1")
	check("one family of two", places("10.0.0.1"), 0)
	check("several of one family", places("10.0.0.1", "10.0.0.2"), 0, -1)
}

func TestDelay(t *testing.T) {
	const interval = 10 * time.Second
	for _, tt := range []struct {
		failed int
		known  bool
		dice   float64
		want   time.Duration
	}{
		{0, true, 0, 7500 * time.Millisecond},
		{0, true, 1, 12500 * time.Millisecond},
		{1, true, 0.5, time.Second},
		{3, true, 0.5, 4 * time.Second},
		{1, false, 0.5, 250 * time.Millisecond},
		{2, false, 0.5, 500 * time.Millisecond},
		{40, false, 0.5, interval},
		{40, true, 0.5, interval},
	} {
		if got := delay(tt.failed, tt.known, interval, tt.dice); got != tt.want {
			t.Errorf("delay(%d, %t, dice %v) = %v, want %v", tt.failed, tt.known, tt.dice, got, tt.want)
		}
	}
	if got := delay(0, true, 1, 0.5); got != minInterval {
		t.Errorf("delay with an interval of 1 ns = %v, want %v", got, minInterval)
	}
}
