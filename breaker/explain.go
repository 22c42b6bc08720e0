package breaker

import (
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Explanation is what a [Breaker] would do with a request now.
type Explanation struct {
	Breaker string `json:"breaker"`
	// Action is pass, trial (it is let through to see) or refuse.
	Action string `json:"action"`
	// DryRun tells that it passes whatever Action says.
	DryRun bool `json:"dryRun,omitempty"`
	// Detail is what a refusal would say; "" if there is none.
	Detail string `json:"detail,omitempty"`
	// RetryAfter is the refusal's, in seconds rounded up, as the field of that name
	// has it; 0 = it would have none.
	RetryAfter int `json:"retryAfter,omitempty"`
	// State is what the breaker is doing.
	State State `json:"state"`
}

// Explain tells what would happen to r now; it has no effect and counts nothing.
// A breaker treats all requests alike: r may be nil.
func (b *Breaker) Explain(*http.Request) Explanation {
	st, now := b.stage.Load(), time.Now()
	x := Explanation{Breaker: b.cfg.Name, DryRun: b.cfg.DryRun, State: b.show(st, now)}
	var e *failure.Error
	switch st.decide(now, true) {
	case pass:
		x.Action = "pass"
	case try:
		x.Action = "trial"
	case refuse:
		x.Action, e = "refuse", b.openError(st, now)
		x.Detail, x.RetryAfter = e.Detail, e.RetryAfterSeconds()
	}
	return x
}
