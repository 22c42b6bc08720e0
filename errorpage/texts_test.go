package errorpage

import (
	stdjson "encoding/json"
	"testing"

	"golang.org/x/text/language"
)

// inEnglish are the facts of a page in English.
func inEnglish(status, retryAfter int, id string) facts {
	return facts{status, groupOf(nil, status), retryAfter, id, newLocale(language.English, []layer{{"en", &english}})}
}

func messageOf(status int) string { return english.Groups[groupOf(nil, status)].Message }

func TestProblem(t *testing.T) {
	const uuid = "018f2f6e-7b6a-7c3d-9a57-0123456789ab"
	tests := []struct {
		name    string
		message string
		facts   facts
		want    map[string]any
	}{
		{"all", "", inEnglish(503, 7, uuid), map[string]any{
			"type": "about:blank", "title": "Service Unavailable", "status": 503., "detail": messageOf(503),
			"instance": "urn:uuid:" + uuid, "retryAfter": 7., "requestId": uuid,
		}},
		{"no time, foreign id", "", inEnglish(502, 0, "Root=1-67891233"), map[string]any{
			"type": "about:blank", "title": "Bad Gateway", "status": 502., "detail": messageOf(502),
			"instance": "urn:request:Root=1-67891233", "requestId": "Root=1-67891233",
		}},
		{"message", "Back \"soon\" \\ später </script>", inEnglish(500, 0, "a"), map[string]any{
			"type": "about:blank", "title": "Internal Server Error", "status": 500., "detail": "Back \"soon\" \\ später </script>",
			"instance": "urn:request:a", "requestId": "a",
		}},
		{"unknown status", "", inEnglish(599, 0, "a"), map[string]any{
			"type": "about:blank", "title": "Error", "status": 599., "detail": messageOf(599),
			"instance": "urn:request:a", "requestId": "a",
		}},
	}
	for _, tt := range tests {
		tx := newTexts("Brand")
		if tt.message != "" {
			tt.facts.locale.groups[tt.facts.group].message = newWords(tt.message)
		}
		raw := tx.appendProblem(nil, tt.facts)
		var got map[string]any
		if err := stdjson.Unmarshal(raw, &got); err != nil {
			t.Errorf("%s: %v in %s", tt.name, err, raw)
			continue
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		for k, want := range tt.want {
			if got[k] != want {
				t.Errorf("%s: %s = %v, want %v", tt.name, k, got[k], want)
			}
		}
	}
}

func TestText(t *testing.T) {
	tx := newTexts("Acme")
	got := string(tx.appendText(nil, inEnglish(503, 1, "abc")))
	want := "Acme: 503 Service Unavailable\n" + messageOf(503) + "\nTry again in 1 second.\nRequest: abc\n"
	if got != want {
		t.Errorf("appendText = %q, want %q", got, want)
	}
}

func TestAppendWait(t *testing.T) {
	for seconds, want := range map[int]string{
		1: "1 second", 2: "2 seconds", 120: "120 seconds", 121: "3 minutes", 180: "3 minutes", 7200: "120 minutes",
		7201: "3 hours", 48 * 3600: "48 hours", 48*3600 + 1: "3 days", 1<<31 - 1: "24856 days",
	} {
		if got := string(inEnglish(503, 0, "").locale.appendWait(nil, seconds)); got != "Try again in "+want+"." {
			t.Errorf("appendWait(%d) = %q, want %q", seconds, got, want)
		}
	}
}
