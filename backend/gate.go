package backend

import "github.com/holdfast-go/holdfast/failure"

// pass is what a gate permitted. A nil pass is that of no gate.
type pass struct {
	answered func() // nil: the gate does not ask
	settled  func(error)
}

// permit asks a gate. Its refusal becomes a *failure.Error.
func permit(g Gate) (*pass, *failure.Error) {
	if g == nil {
		return nil, nil
	}
	p := new(pass)
	var err error
	if call, ok := g.(interface {
		AllowCall() (answered func(), done func(error), err error)
	}); ok {
		p.answered, p.settled, err = call.AllowCall()
	} else {
		p.settled, err = g.Allow()
	}
	if err != nil {
		return nil, failure.As(err, failure.BreakerOpen)
	}
	return p, nil
}

// answer tells the gate of a final header section that is no failure.
func (p *pass) answer() {
	if p != nil && p.answered != nil {
		p.answered()
	}
}

// done tells the gate the outcome, once; nil is success.
func (p *pass) done(e *failure.Error) {
	if p == nil || p.settled == nil {
		return
	}
	settled := p.settled
	p.settled = nil
	if e == nil {
		settled(nil) // not an error that holds a nil *failure.Error
		return
	}
	settled(e)
}

// unused gives the permit back.
func (p *pass) unused() {
	if p != nil && p.settled != nil {
		settled := p.settled
		p.settled = nil
		settled(failure.ErrUnused)
	}
}
