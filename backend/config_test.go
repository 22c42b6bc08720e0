package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestConfigErrors(t *testing.T) {
	h := http.NotFoundHandler()
	ok := []Endpoint{{URL: "http://a"}}
	for _, tt := range []struct {
		cfg  Config
		want []string // parts of the error; none: no error
	}{
		{Config{Endpoints: ok}, nil},
		{Config{Endpoints: []Endpoint{{URL: "https://a:8443/p"}, {URL: "h2c://[::1]:80"}, {Handler: h}}}, nil},
		{Config{Endpoints: ok, FirstByte: -1, HeaderStall: -1, BetweenBytes: -1, Write: -1, UntilHeaders: -1, StreamIdle: -1, ClientWrite: -1, IdleConn: -1, Retries: -1, ReplayBody: -1}, nil},
		{Config{}, []string{"backend: Config.Endpoints is empty"}},
		{Config{Endpoints: ok, Connect: -3 * time.Second, TLSHandshake: -1, MaxHeaderBytes: -1}, []string{"backend: Config.Connect is -3s: must be", "Config.TLSHandshake", "Config.MaxHeaderBytes"}},
		{Config{Endpoints: []Endpoint{{}}}, []string{"Endpoints[0] has neither"}},
		{Config{Endpoints: []Endpoint{{URL: "http://a", Handler: h}}}, []string{"Endpoints[0] has both"}},
		{Config{Endpoints: []Endpoint{{URL: "ftp://a"}}}, []string{"Endpoints[0].URL", "scheme"}},
		{Config{Endpoints: []Endpoint{{URL: "a:80"}}}, []string{"Endpoints[0].URL"}},
		{Config{Endpoints: []Endpoint{{URL: "http://"}}}, []string{"no host"}},
		{Config{Endpoints: []Endpoint{{URL: "http://a:0"}}}, []string{"port"}},
		{Config{Endpoints: []Endpoint{{URL: "http://a:99999"}}}, []string{"port"}},
		{Config{Endpoints: []Endpoint{{URL: "http://u:secret@a"}}}, []string{"credentials"}},
		{Config{Endpoints: []Endpoint{{URL: "http://u:secret@a:port"}}}, []string{"Endpoints[0].URL"}},
		{Config{Endpoints: []Endpoint{{URL: "ftp://u:secret@a"}}}, []string{"scheme"}},
		{Config{Endpoints: []Endpoint{{URL: "u:secret@a:80"}}}, []string{"Endpoints[0].URL"}},
		{Config{Endpoints: []Endpoint{{URL: "http://a?q"}}}, []string{"query"}},
		{Config{Endpoints: []Endpoint{{URL: "http://a/#f"}}}, []string{"fragment"}},
		{Config{Endpoints: []Endpoint{{URL: "http://::1:8080"}}}, []string{"Endpoints[0].URL"}},
		{Config{Endpoints: []Endpoint{{URL: "http://::1"}}}, []string{"Endpoints[0].URL"}},
		{Config{Endpoints: []Endpoint{{URL: "http://a b"}}}, []string{"Endpoints[0].URL"}},
		{Config{Endpoints: []Endpoint{{URL: "unix:///run/a.sock"}, {URL: "unix:///run/a@b.sock"}, {URL: "h2://a/p"}}}, nil},
		{Config{Endpoints: []Endpoint{{URL: "unix://run/a.sock"}}}, []string{"three slashes"}},
		{Config{Endpoints: []Endpoint{{URL: "unix:run/a.sock"}}}, []string{"three slashes"}},
		{Config{Endpoints: []Endpoint{{URL: "unix:///"}}}, []string{"directory"}},
		{Config{Endpoints: []Endpoint{{URL: "unix:@"}}}, []string{"Endpoints[0].URL"}},
		{Config{Endpoints: []Endpoint{{URL: "unix:///a.sock?x"}}}, []string{"query"}},
		{Config{Endpoints: []Endpoint{{URL: "unix:///a%00.sock"}}}, []string{"control characters"}},
		{Config{Endpoints: []Endpoint{{URL: "unix:///" + strings.Repeat("x", 120)}}}, []string{"at most", "not 121"}},
		{Config{Endpoints: ok, Resolve: -1, WholeBody: -1, ResolveInterval: -1}, []string{"Config.Resolve is -1ns"}},
		{Config{Endpoints: ok, WholeBody: -1, ResolveInterval: -1}, nil},
		{Config{Endpoints: []Endpoint{{URL: "gopher://a"}}}, []string{"scheme must be http, https, h2, h2c or unix"}},
		{Config{Endpoints: []Endpoint{{URL: "127.0.0.1:8080"}}}, []string{"scheme must be http, https, h2, h2c or unix"}},
		{Config{Endpoints: ok, Health: Health{Path: "/a?b c"}}, []string{"Config.Health.Path"}},
		{Config{Endpoints: []Endpoint{{URL: "http://a/%zz"}}}, []string{"Endpoints[0].URL"}},
		{Config{Endpoints: []Endpoint{{URL: "http://a"}, {URL: "http://a:80/x"}}}, []string{"Endpoints[1] has the name"}},
		{Config{Endpoints: ok, Health: Health{Path: "health"}}, []string{"Config.Health.Path"}},
		{Config{Endpoints: ok, Health: Health{Path: "//x", Interval: -1, Timeout: -1, Rise: -1, Fall: -1}}, []string{"Health.Interval", "Health.Timeout", "Health.Rise", "Health.Fall"}},
		{Config{Endpoints: ok, Gate: &refusingGate{}, NewGate: func(string) Gate { return nil }}, []string{"Config.Gate and Config.NewGate"}},
	} {
		b, err := New(tt.cfg)
		if (err != nil) != (tt.want != nil) {
			t.Errorf("New(%+v) = %v, want errors with %q", tt.cfg, err, tt.want)
			continue
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("New(%+v) = %v, want one with %q", tt.cfg, err, part)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
		}
		if b != nil {
			if err := b.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
		}
	}
}
