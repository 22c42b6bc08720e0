package errorpage

import (
	"net/http"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	const (
		chrome  = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
		firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
		safari  = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	)
	tests := []struct {
		name   string
		fields []string
		want   format
	}{
		{"chrome navigation", []string{"Accept", chrome, "Sec-Fetch-Dest", "document"}, html},
		{"chrome over plain http", []string{"Accept", chrome}, html},
		{"firefox navigation", []string{"Accept", firefox, "Sec-Fetch-Dest", "document"}, html},
		{"safari navigation", []string{"Accept", safari}, html},
		{"iframe", []string{"Accept", chrome, "Sec-Fetch-Dest", "iframe"}, html},
		{"chrome image", []string{"Accept", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "Sec-Fetch-Dest", "image"}, empty},
		{"chrome image over plain http", []string{"Accept", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"}, text},
		{"style", []string{"Accept", "text/css,*/*;q=0.1", "Sec-Fetch-Dest", "style"}, empty},
		{"script", []string{"Accept", "*/*", "Sec-Fetch-Dest", "script"}, empty},
		{"font", []string{"Accept", "application/font-woff2;q=1.0,application/font-woff;q=0.9,*/*;q=0.8", "Sec-Fetch-Dest", "font"}, empty},
		{"video", []string{"Accept", "*/*", "Sec-Fetch-Dest", "video"}, empty},
		{"worker", []string{"Accept", "*/*", "Sec-Fetch-Dest", "worker"}, empty},
		{"unknown destination", []string{"Accept", "*/*", "Sec-Fetch-Dest", "teapot"}, text},
		{"two destinations", []string{"Accept", "text/html", "Sec-Fetch-Dest", "image", "Sec-Fetch-Dest", "font"}, html},
		{"fetch", []string{"Accept", "*/*", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "cors"}, problem},
		{"fetch for text", []string{"Accept", "text/plain", "Sec-Fetch-Dest", "empty"}, text},
		{"fetch for text before all else", []string{"Accept", "text/plain, */*", "Sec-Fetch-Dest", "empty"}, text},
		{"fetch without problems", []string{"Accept", "*/*, application/problem+json;q=0", "Sec-Fetch-Dest", "empty"}, json},
		{"fetch for an image", []string{"Accept", "image/png", "Sec-Fetch-Dest", "empty"}, problem},
		{"fetch for json", []string{"Accept", "application/json", "Sec-Fetch-Dest", "empty"}, json},
		{"axios", []string{"Accept", "application/json, text/plain, */*"}, json},
		{"jquery getJSON", []string{"Accept", "application/json, text/javascript, */*; q=0.01"}, json},
		{"angular", []string{"Accept", "application/json, text/plain, */*"}, json},
		{"htmx", []string{"Accept", "text/html, */*"}, html},
		{"turbo", []string{"Accept", "text/vnd.turbo-stream.html, text/html, application/xhtml+xml"}, html},
		{"curl", []string{"Accept", "*/*"}, text},
		{"wget", []string{"Accept", "*/*"}, text},
		{"go client", nil, text},
		{"java", []string{"Accept", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}, html},
		{"prometheus", []string{"Accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"}, text},
		{"kubectl", []string{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}, json},
		{"problem", []string{"Accept", "application/problem+json"}, problem},
		{"problem before json", []string{"Accept", "application/json, application/problem+json"}, problem},
		{"problem less than json", []string{"Accept", "application/json, application/problem+json;q=0.9"}, json},
		{"json:api", []string{"Accept", "application/vnd.api+json"}, problem},
		{"json:api refused", []string{"Accept", "application/vnd.api+json;q=0"}, text},
		{"odata", []string{"Accept", "application/json;odata=verbose"}, json},
		{"event stream", []string{"Accept", "text/event-stream", "Sec-Fetch-Dest", "empty"}, problem},
		{"json:api or anything", []string{"Accept", "application/vnd.api+json, */*;q=0.5"}, problem},
		{"anything before json:api", []string{"Accept", "application/vnd.api+json;q=0.5, */*"}, text},
		{"json:api without problems", []string{"Accept", "application/vnd.api+json, application/problem+json;q=0"}, json},
		{"nothing but no text", []string{"Accept", "text/plain;q=0"}, problem},
		{"all refused by name", []string{"Accept", "text/plain;q=0, text/html;q=0, application/json;q=0, application/problem+json;q=0"}, text},
		{"grpc-go", []string{"Content-Type", "application/grpc", "Te", "trailers"}, grpc},
		{"grpc proto", []string{"Content-Type", "application/grpc+proto"}, grpc},
		{"grpc-web", []string{"Content-Type", "application/grpc-web+proto", "Accept", "application/grpc-web+proto"}, grpc},
		{"not grpc", []string{"Content-Type", "application/grpcish", "Accept", "text/html"}, html},

		{"weights", []string{"Accept", "text/html;q=0.2, application/json;q=0.7, text/plain;q=0.5"}, json},
		{"weight of a wildcard is higher", []string{"Accept", "text/html;q=0.5, */*;q=0.8"}, text},
		{"refused type", []string{"Accept", "text/html;q=0, */*"}, text},
		{"refused text", []string{"Accept", "text/plain;q=0, */*"}, problem},
		{"all but html refused", []string{"Accept", "*/*, text/plain;q=0, application/json;q=0, application/problem+json;q=0"}, html},
		{"all refused", []string{"Accept", "*/*;q=0"}, text},
		{"precise over wildcard", []string{"Accept", "text/*;q=0.9, text/html;q=0.1, application/json;q=0.5"}, text},
		{"subtype wildcard", []string{"Accept", "application/*"}, problem},
		{"subtype wildcard over any", []string{"Accept", "*/*, application/*"}, problem},
		{"text wildcard", []string{"Accept", "text/*"}, text},
		{"charset", []string{"Accept", `text/html;charset="UTF-8"`}, html},
		{"plain range rules over parameters", []string{"Accept", "text/html;level=1, text/html;q=0, application/json;q=0.1"}, json},
		{"several lines", []string{"Accept", "application/xml", "Accept", "text/html;q=0.9"}, html},
		{"case", []string{"Accept", "TEXT/HTML;Q=0.9, */*;q=0.1"}, html},
		{"spaces", []string{"Accept", "  text/html \t; q=0.9 ,\t*/* ; q=0.1 "}, html},
		{"nothing of ours", []string{"Accept", "image/png"}, text},
		{"empty", []string{"Accept", ""}, text},

		{"malformed weight is ignored", []string{"Accept", "text/html;q=high, application/json;q=0.1"}, json},
		{"negative weight is ignored", []string{"Accept", "text/html;q=-1, application/json;q=0.1"}, json},
		{"weight over one", []string{"Accept", "text/html;q=7, application/json"}, html},
		{"no type", []string{"Accept", ";q=1,,text,/,application/json;q=0.3"}, json},
		{"quoted comma", []string{"Accept", `application/xml;note="a, text/html", application/json;q=0.2`}, json},
		{"quoted quote", []string{"Accept", `application/xml;note="\", text/html;", application/json;q=0.2`}, json},
		{"open quote", []string{"Accept", `application/json;q=0.2, text/html;x="`}, html},
		{"only garbage", []string{"Accept", "\x00\xff;;;===,,,"}, text},
		{"weight before parameters of the extension", []string{"Accept", "text/html;q=0.5;level=1, application/json;q=0.4"}, html},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := choose(get(tt.fields...).Header); got != tt.want {
				t.Errorf("choose(%q) = %v, want %v", tt.fields, got, tt.want)
			}
		})
	}
}

func TestParseWeight(t *testing.T) {
	tests := []struct {
		in     string
		weight int
		ok     bool
	}{
		{"1", 1000, true},
		{"1.000", 1000, true},
		{"0", 0, true},
		{"0.", 0, true},
		{"0.000", 0, true},
		{"0.5", 500, true},
		{".5", 500, true},
		{"0.25", 250, true},
		{"0.123", 123, true},
		{"0.9999", 999, true},
		{"0.0001", 1, true},
		{"2", 1000, true},
		{"00.3", 300, true},
		{"", 0, false},
		{".", 0, false},
		{"-0.5", 0, false},
		{"+1", 0, false},
		{"1e3", 0, false},
		{"0,5", 0, false},
		{"0.5.5", 0, false},
		{"NaN", 0, false},
		{"99999999999999999999999", 0, false},
	}
	for _, tt := range tests {
		if weight, ok := parseWeight(tt.in); weight != tt.weight || ok != tt.ok {
			t.Errorf("parseWeight(%q) = %d, %v, want %d, %v", tt.in, weight, ok, tt.weight, tt.ok)
		}
	}
}

// What stands behind the bounds is not read.
func TestAcceptIsBounded(t *testing.T) {
	tests := []struct {
		name   string
		accept []string
		want   format
	}{
		{"ranges", []string{"application/json;q=0.1," + strings.Repeat("a/b,", maxAcceptRanges-1) + "text/html"}, json},
		{"bytes", []string{"application/json;q=0.1," + strings.Repeat("a", maxAcceptBytes) + "/b,text/html"}, json},
		{"bytes over several lines", []string{"application/json;q=0.1", strings.Repeat("a", maxAcceptBytes-30) + "/b", "text/html;level=1"}, json},
		{"within", []string{"application/json;q=0.1," + strings.Repeat("a/b,", maxAcceptRanges-3) + "text/html"}, html},
		// A member that is cut would mean something else: here, "never".
		{"a cut member", []string{strings.Repeat("a", maxAcceptBytes-len("/b,text/html;q=0")) + "/b,text/html;q=0.9"}, text},
	}
	for _, tt := range tests {
		if got := negotiate(tt.accept, false); got != tt.want {
			t.Errorf("%s: negotiate = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzAccept(f *testing.F) {
	f.Add("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "")
	f.Add(`application/json;a="\",b";q=0.5`, "*/*;q=0")
	f.Add("*;q=.2,,;;=", "text/*;q=1.0000")
	f.Fuzz(func(t *testing.T, a, b string) {
		got := negotiate([]string{a, b}, false)
		if got >= offers {
			t.Fatalf("negotiate(%q, %q) = %d: no format that can be negotiated", a, b, got)
		}
		if again := choose(http.Header{"Accept": {a, b}}); again != got {
			t.Fatalf("choose(%q, %q) = %v, negotiate says %v", a, b, again, got)
		}
		// Whatever else stands there, a type that is named in front with the
		// highest weight is chosen, unless another one is, too.
		named := negotiate([]string{"application/problem+json", a}, false)
		if named != problem && !strings.Contains(a, "/") && !strings.Contains(a, "*") {
			t.Fatalf("negotiate(problem+json, %q) = %v, want problem", a, named)
		}
		for _, lines := range [][]string{{a}, {b}, {a, b}} {
			for _, line := range lines {
				if weight, ok := parseWeight(line); ok && (weight < 0 || weight > 1000) {
					t.Fatalf("parseWeight(%q) = %d", line, weight)
				}
			}
		}
	})
}
