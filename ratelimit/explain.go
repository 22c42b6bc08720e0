package ratelimit

import (
	"math"
	"net/http"
)

// Explanation is what a [Limiter] makes of a request. Keys are not in it, since
// they may be secrets, except for clients' addresses.
type Explanation struct {
	Name string `json:"name"`
	// Action is what is done with the request: pass, delay (it waits for
	// permits), or refuse.
	Action string `json:"action"`
	// DryRun tells that it passes, whatever Action says.
	DryRun bool `json:"dryRun,omitempty"`
	// Client is the client's address, "" if it is unknown or nothing depends on
	// it.
	Client string `json:"client,omitempty"`
	// List is the network on the allow or deny list that decides; "" = none.
	List string `json:"list,omitempty"`
	// Limit is the most restrictive limit; "" if none is asked.
	Limit string `json:"limit,omitempty"`
	// RetryAfter is the time, in seconds, until all limits have the permits; 0
	// where they have, or where the deny list refuses.
	RetryAfter float64 `json:"retryAfter"`
	// Forwarded is Event.Forwarded: the client may be a proxy.
	Forwarded bool `json:"forwarded,omitempty"`
	// Waiting is how many requests are held back at present, of all clients.
	Waiting int `json:"waiting"`
	// Limits are those that are asked, in the order of the configuration.
	Limits []ExplainedLimit `json:"limits,omitempty"`
}

// ExplainedLimit is what one limit makes of a request.
type ExplainedLimit struct {
	Name  string  `json:"name"`
	Rate  float64 `json:"rate"`
	Burst int     `json:"burst"`
	// Bucket is whose bucket answers: the client's network, or in words.
	Bucket string `json:"bucket"`
	Cost   int    `json:"cost"`
	// Remaining is how many whole permits the bucket holds.
	Remaining int `json:"remaining"`
	// RetryAfter is the time, in seconds, until it holds Cost of them.
	RetryAfter float64 `json:"retryAfter"`
	// ByOutcome: permits are given back where the answer does not count.
	ByOutcome bool `json:"byOutcome,omitempty"`
}

// Explain tells what Handler would do with r now. It takes nothing and changes
// nothing; it does call the configured funcs.
func (l *Limiter) Explain(r *http.Request) Explanation {
	cs, who := l.claims(r, nil)
	x := Explanation{Name: l.cfg.Name, Action: "pass", DryRun: l.cfg.DryRun, Forwarded: l.misled(r)}
	if who.addr.IsValid() {
		x.Client = who.addr.String()
	}
	if who.as != unlisted {
		x.List = who.network.String()
	}
	if who.as == denied {
		x.Action = "refuse"
	}
	if l.lines != nil {
		x.Waiting = int(l.lines.waiting.Load())
	}
	if len(cs) == 0 {
		return x
	}
	look(cs)
	d := judge(cs, false)
	if l.lines != nil {
		d.retryAfter = max(d.retryAfter, l.lines.expected(cs))
	}
	x.Limit, x.RetryAfter = d.limit.Name, d.retryAfter.Seconds()
	switch {
	case d.retryAfter == 0:
	case l.lines != nil && d.retryAfter <= l.cfg.MaxDelay && x.Waiting < l.cfg.MaxWaiting:
		x.Action = "delay"
	default:
		x.Action = "refuse"
	}
	for i := range cs {
		c := &cs[i]
		x.Limits = append(x.Limits, ExplainedLimit{
			Name: c.limit.Name, Rate: c.limit.Rate, Burst: c.limit.Burst, Bucket: c.who(), Cost: c.cost,
			Remaining: int(math.Floor(max(c.tokens, 0))), RetryAfter: c.wait.Seconds(), ByOutcome: c.limit.Count != nil,
		})
	}
	return x
}
