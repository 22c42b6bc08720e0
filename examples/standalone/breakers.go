package main

import (
	"errors"
	"slices"
	"sync"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/failure"
)

// breakers makes a breaker for every endpoint, as the backend gets to know it: a
// name may come to stand for several addresses.
type breakers struct {
	cfg breaker.Config

	mu  sync.Mutex // guards all
	all []namedBreaker
}

type namedBreaker struct {
	name string
	*breaker.Breaker
}

// maxBreakers bounds what is kept of endpoints that may be long gone.
const maxBreakers = 256

// newBreakers checks what all of them have in common.
func newBreakers(cfg breaker.Config) (*breakers, error) {
	_, err := breaker.New(cfg)
	return &breakers{cfg: cfg}, err
}

// gate is a backend.Config.NewGate.
func (b *breakers) gate(endpoint string) backend.Gate {
	cfg := b.cfg
	cfg.Name = endpoint
	one, err := breaker.New(cfg)
	if err != nil { // which newBreakers would have told
		return shut{err}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = slices.DeleteFunc(b.all, func(other namedBreaker) bool { return other.name == endpoint })
	if len(b.all) == maxBreakers {
		b.all = slices.Delete(b.all, 0, 1)
	}
	b.all = append(b.all, namedBreaker{endpoint, one})
	return one
}

// list is a copy, in the order of their making.
func (b *breakers) list() []namedBreaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

// shut is the gate of an endpoint whose breaker could not be made.
type shut struct{ err error }

func (s shut) Allow() (func(error), error) {
	return nil, failure.New(failure.BreakerOpen, errors.Join(errors.New("no breaker could be made"), s.err))
}
