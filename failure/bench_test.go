package failure

import (
	"context"
	"net/http"
	"testing"
)

func BenchmarkTrackAndFrom(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ctx := Track(context.Background())
		_, _ = From(ctx)
	}
}

func BenchmarkProxyStatus(b *testing.B) {
	e := &Error{Cause: ConnectionRefused, Backend: "shop", Endpoint: "127.0.0.1:80"}
	h := http.Header{}
	b.ReportAllocs()
	for b.Loop() {
		clear(h)
		SetHeaders(h, e, ProxyStatus{})
	}
}
