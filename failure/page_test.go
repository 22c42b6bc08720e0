package failure

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write CAUSES.md anew")

// TestCausesPage keeps CAUSES.md equal to the table.
func TestCausesPage(t *testing.T) {
	want := causesPage()
	if *update {
		if err := os.WriteFile("CAUSES.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("CAUSES.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("CAUSES.md differs from the table; make it anew with: go test ./failure -run TestCausesPage -update")
	}
}

const causesIntro = `<!-- Generated from table.go by: go test ./failure -run TestCausesPage -update -->

# Why a request failed: the table of causes

One row per reason that an operator must be able to tell apart. The token stands in logs, metrics and the ` + "`cause`" + `
parameter of ` + "`Proxy-Status`" + `.

- **status** is sent when nothing better, such as stale content, can be served.
- **Proxy-Status error** is the type of RFC 9209.
- **retry** says for which methods another attempt may follow, and where. *any* means that nothing had been sent;
  *idempotent* (RFC 9110 section 9.2.2) asks for a body that can be sent again, and for no response byte yet.
- **counts** is what a circuit breaker and passive health make of it: *backend* failed, or *local*: it could not even be
  asked; *-* says nothing about the backend.
- **stale** says whether stored content may be served instead, unless its own directives forbid that.
- **shared**: those who wait for the same fetch get the same answer; where it is *no*, each fetches for itself.

| cause | status | Proxy-Status error | retry | counts | stale | shared | what it means |
|---|---|---|---|---|---|---|---|
`

func causesPage() string {
	var b strings.Builder
	b.WriteString(causesIntro)
	for _, c := range Causes() {
		r := c.Row()
		share := "yes"
		if !r.Share {
			share = "no"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s | %s |\n",
			r.Token, statusCell(r), errorCell(r), retryCell(r.Retry), countsCell(r), staleCell(r.Stale), share, r.Hint)
	}
	return b.String()
}

func statusCell(r Row) string {
	switch {
	case r.Cause == ClientGone:
		return "none; logged as " + strconv.Itoa(StatusClientGone)
	case r.Cause == ClientBodyError:
		return "400, 408 or 413"
	case r.Status == 0:
		return "as sent"
	}
	return strconv.Itoa(r.Status)
}

func errorCell(r Row) string {
	switch {
	case r.ProxyError != "":
		return "`" + r.ProxyError + "`"
	case r.Cause == ClientGone:
		return "-"
	}
	return "`received-status`"
}

func retryCell(r Retry) string {
	var parts []string
	switch r.Methods {
	case NoMethod:
		return "-"
	case ReadMethods:
		parts = append(parts, "GET and HEAD")
	case IdempotentMethods:
		parts = append(parts, "idempotent")
	case AnyMethod:
		parts = append(parts, "any")
	}
	switch r.Endpoint {
	case SameEndpoint:
	case PreferOther:
		parts = append(parts, "rather elsewhere")
	case RequireOther:
		parts = append(parts, "only elsewhere")
	}
	if r.Once {
		parts = append(parts, "once")
	}
	if r.Fresh {
		parts = append(parts, "on a fresh connection")
	}
	if r.Statuses != nil {
		parts = append(parts, "for "+strings.Trim(fmt.Sprint(r.Statuses), "[]"))
	}
	return strings.Join(parts, ", ")
}

func countsCell(r Row) string {
	cell := [...]string{"-", "backend", "local"}[r.Counts]
	return cell + [...]string{
		"", ", not the first time", " if the request had been sent whole", ", but not 501 and 505", " if the handler is the backend",
	}[r.CountsIf]
}

func staleCell(s Stale) string {
	return [...]string{"no", "yes", "if asked for", "by position"}[s]
}
