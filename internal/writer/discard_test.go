package writer

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// impatient is an owner that takes so many bytes into the void.
type impatient struct {
	Base
	left int
}

var errEnough = errors.New("enough")

func (o *impatient) Begin(int) bool { return false }

func (o *impatient) Discard(n int) error {
	if o.left -= n; o.left < 0 {
		return errEnough
	}
	return nil
}

func TestDiscarder(t *testing.T) {
	text := strings.Repeat("x", 100)
	for name, write := range map[string]func(http.ResponseWriter) (int64, error){
		"Write":       func(w http.ResponseWriter) (int64, error) { n, err := w.Write([]byte(text)); return int64(n), err },
		"WriteString": func(w http.ResponseWriter) (int64, error) { n, err := io.WriteString(w, text); return int64(n), err },
		"ReadFrom":    func(w http.ResponseWriter) (int64, error) { return io.Copy(w, strings.NewReader(text)) },
	} {
		rec := httptest.NewRecorder()
		o := &impatient{left: 1050}
		o.Init(rec, o)
		var taken int64
		var err error
		for err == nil && taken < 2000 {
			var n int64
			n, err = write(o)
			taken += n
		}
		if !errors.Is(err, errEnough) || taken != 1000 || rec.Body.Len() != 0 {
			t.Errorf("%s: %d taken, %v; %d bytes passed", name, taken, err, rec.Body.Len())
		}
	}
}
