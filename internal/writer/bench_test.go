package writer

import (
	"net/http"
	"testing"
)

// discard is an outer writer without costs of its own.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

type pass struct{}

func (pass) Begin(int) bool { return true }

func exchange(b *Base, outer http.ResponseWriter, body []byte) {
	b.Init(outer, pass{})
	b.WriteHeader(http.StatusOK)
	_, _ = b.Write(body)
}

func BenchmarkExchange(b *testing.B) {
	var base Base
	outer, body := &discard{http.Header{}}, make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		exchange(&base, outer, body)
	}
}

func BenchmarkExchangeThreeDeep(b *testing.B) {
	var layers [3]Base
	outer, body := &discard{http.Header{}}, make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var w http.ResponseWriter = outer
		for n := range layers {
			layers[n].Init(w, pass{})
			w = &layers[n]
		}
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(body)
	}
}

func TestExchangeAllocs(t *testing.T) {
	var base Base
	outer, body := &discard{http.Header{}}, make([]byte, 1024)
	if n := testing.AllocsPerRun(100, func() { exchange(&base, outer, body) }); n != 0 {
		t.Errorf("an exchange allocates %v times, want 0", n)
	}
}
