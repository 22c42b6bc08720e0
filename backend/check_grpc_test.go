package backend

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// grpcHealth is a gRPC health server without any of gRPC's code.
func grpcHealth(t *testing.T, answer func(w http.ResponseWriter, service string)) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil || len(body) < 5 || body[0] != 0 || int(binary.BigEndian.Uint32(body[1:5])) != len(body)-5:
			t.Errorf("the request's message is %q, %v", body, err)
		case r.Method != http.MethodPost || r.URL.Path != "/grpc.health.v1.Health/Check" || r.ProtoMajor != 2:
			t.Errorf("%s %s %s, want POST /grpc.health.v1.Health/Check HTTP/2.0", r.Method, r.URL.Path, r.Proto)
		case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") || r.Header.Get("Te") != "trailers" || r.Header.Get("Grpc-Timeout") == "":
			t.Errorf("header = %v, want a gRPC call's", r.Header)
		}
		service := ""
		if len(body) > 7 && body[5] == 0x0a {
			service = string(body[7:])
		}
		answer(w, service)
	})
}

// grpcSay answers with a message and trailers.
func grpcSay(message []byte, status string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, _ string) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		_, _ = w.Write(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))))
		_, _ = w.Write(message)
		w.Header().Set("Grpc-Status", status)
	}
}

// grpcRefuse answers with trailers alone.
func grpcRefuse(status, message string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, _ string) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", status)
		w.Header().Set("Grpc-Message", message)
	}
}

func h2cServer(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = quiet
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return "h2c://" + srv.Listener.Addr().String()
}

func TestCheckGRPC(t *testing.T) {
	const check = "grpc.health.v1.Health/Check"
	html := func(w http.ResponseWriter, _ string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<html>")
	}
	for _, test := range []struct {
		name    string
		answer  func(http.ResponseWriter, string)
		service string
		ok      bool
		detail  string
	}{
		{"serving", grpcSay([]byte{8, 1}, "0"), "", true, check + ": SERVING"},
		{"a service", func(w http.ResponseWriter, service string) {
			if service != "shop.v1.Cart" {
				grpcRefuse("5", "unknown service")(w, service)
				return
			}
			grpcSay([]byte{8, 1}, "0")(w, service)
		}, "shop.v1.Cart", true, check + " of shop.v1.Cart: SERVING"},
		{"not serving", grpcSay([]byte{8, 2}, "0"), "", false, check + ": NOT_SERVING, wanted SERVING"},
		{"unknown", grpcSay(nil, "0"), "", false, check + ": UNKNOWN, wanted SERVING"},
		{"a state of the future", grpcSay([]byte{8, 9}, "0"), "", false, check + ": 9, wanted SERVING"},
		{"no such service", grpcRefuse("5", "unknown service"), "x", false, check + ` of x: grpc-status 5 NOT_FOUND: "unknown service"`},
		{"no health server", grpcRefuse("12", "unknown service grpc.health%20v1"), "", false, check + `: grpc-status 12 UNIMPLEMENTED: "unknown service grpc.health v1"`},
		{"a code of the future", grpcRefuse("99", ""), "", false, check + ": grpc-status 99"},
		{"failed after its message", grpcSay([]byte{8, 1}, "13"), "", false, check + ": grpc-status 13 INTERNAL"},
		{"no gRPC", html, "", false, check + `: content type "text/html; charset=utf-8", wanted application/grpc`},
		{"no trailers", func(w http.ResponseWriter, _ string) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, 1})
		}, "", false, check + ": no grpc-status"},
		{"404", func(w http.ResponseWriter, _ string) { w.WriteHeader(404) }, "", false, check + ": 404 Not Found, wanted 200"},
		{"garbage in the message", grpcSay([]byte{255, 255}, "0"), "", false, check + ": the answer is no HealthCheckResponse"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := grpcHealth(t, test.answer)
			for way, ep := range map[string]Endpoint{"h2c": {URL: h2cServer(t, h)}, "handler": {Handler: h}} {
				p := firstProbe(t, Config{Endpoints: []Endpoint{ep}, Health: Health{Kind: CheckGRPC, Service: test.service}})
				if p.OK != test.ok || p.Detail != test.detail {
					t.Errorf("%s: check = %v, %q, want %v, %q", way, p.OK, p.Detail, test.ok, test.detail)
				}
			}
		})
	}
}

func TestCheckGRPCFaults(t *testing.T) {
	const check = "grpc.health.v1.Health/Check"
	for _, test := range []struct {
		name   string
		server script
		detail string
	}{
		{"silent", silentServer, check + ": no answer after 200ms"},
		{"reset", serveHTTP2(resetStream), check + ": reset_before_headers"},
		{"refused stream", serveHTTP2(refuseStream), check + ": stream_refused"},
		{"an HTTP/1 server", sayThenHang(okHello), check + ": malformed"},
		{"closed", serveHTTP2(hangUp), check + ": closed_before_headers"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := newFaults(t, test.server)
			timeout := 10 * time.Second
			if test.name == "silent" {
				timeout = 200 * time.Millisecond
			}
			p := firstProbe(t, Config{Endpoints: []Endpoint{{URL: "h2c://" + server.addr}}, Health: Health{Kind: CheckGRPC, Timeout: timeout}})
			if p.OK || !strings.HasPrefix(p.Detail, test.detail) {
				t.Errorf("check = %v, %q, want %q", p.OK, p.Detail, test.detail)
			}
		})
	}
}

func TestCheckGRPCOverTLS(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "127.0.0.1", farFuture())
	for _, test := range []struct {
		name   string
		http2  bool
		detail string
	}{
		{"h2", true, "grpc.health.v1.Health/Check: SERVING"},
		{"HTTP/1.1", false, "grpc.health.v1.Health/Check: the endpoint speaks HTTP/1.1, gRPC needs HTTP/2"},
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { grpcSay([]byte{8, 1}, "0")(w, "") })
		srv := httptest.NewUnstartedServer(h)
		srv.Config.ErrorLog = quiet
		srv.EnableHTTP2 = test.http2
		srv.TLS = http2TLS(cert)
		if !test.http2 {
			srv.TLS.NextProtos = []string{"http/1.1"}
		}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		p := firstProbe(t, Config{Endpoints: []Endpoint{{URL: srv.URL}}, Health: Health{Kind: CheckGRPC}, TLS: trusting(ca)})
		if p.OK != test.http2 || p.Detail != test.detail {
			t.Errorf("%s: check = %v, %q, want %q", test.name, p.OK, p.Detail, test.detail)
		}
	}
}

func TestGRPCState(t *testing.T) {
	frame := func(message ...byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	}
	for _, test := range []struct {
		content []byte
		want    uint64
		err     error
	}{
		{frame(), 0, nil},
		{frame(8, 1), 1, nil},
		{frame(8, 2, 8, 1), 1, nil},
		{frame(0x12, 2, 'a', 'b', 8, 1), 1, nil}, // a field 2 before it
		{frame(0x15, 1, 2, 3, 4, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 8, 0x81, 1), 129, nil}, // 32 and 64 bits before it
		{nil, 0, errGRPCMessage},
		{frame(8, 1)[:6], 0, errGRPCMessage},
		{append(frame(8, 1), 0), 0, errGRPCMessage},
		{append([]byte{1}, frame(8, 1)[1:]...), 0, errGRPCCompressed},
		{frame(8), 0, errGRPCCoding},
		{frame(0, 1), 0, errGRPCCoding},
		{frame(0x12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1), 0, errGRPCCoding},
		{frame(0x19, 1), 0, errGRPCCoding},
		{frame(0x0b), 0, errGRPCCoding}, // a group
	} {
		if got, err := grpcState(test.content); got != test.want || err != test.err { //nolint:errorlint // they are not wrapped
			t.Errorf("grpcState(%v) = %v, %v, want %v, %v", test.content, got, err, test.want, test.err)
		}
	}
	if got, want := grpcFrame("abc"), []byte{0, 0, 0, 0, 5, 0x0a, 3, 'a', 'b', 'c'}; !bytes.Equal(got, want) {
		t.Errorf("grpcFrame = %v, want %v", got, want)
	}
}

func FuzzGRPCState(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 4, 0x12, 2, 8, 1})
	f.Fuzz(func(t *testing.T, content []byte) {
		if state, err := grpcState(content); err != nil && state != 0 {
			t.Errorf("grpcState(%v) = %v, %v", content, state, err)
		}
	})
}
