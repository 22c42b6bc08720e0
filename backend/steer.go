package backend

import (
	"fmt"
	"strings"
)

// Steering is what an operator decided about an endpoint.
type Steering uint8

const (
	// Automatic leaves the endpoint to its checks and the traffic.
	Automatic Steering = iota
	// ForceUp has the endpoint used whatever its checks and its ejection say.
	ForceUp
	// ForceDown gives the endpoint no request. Those in flight finish.
	ForceDown
	// Drain gives the endpoint no request but those that are bound to it by
	// a sticky cookie. Those in flight finish.
	Drain
)

var steeringNames = [...]string{"automatic", "force-up", "force-down", "drain"}

// String is "automatic", "force-up", "force-down" or "drain".
func (s Steering) String() string {
	if int(s) < len(steeringNames) {
		return steeringNames[s]
	}
	return fmt.Sprintf("steering(%d)", uint8(s))
}

// MarshalText makes the name the form of a Steering in JSON and logs.
func (s Steering) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseSteering is the reverse of [Steering.String].
func ParseSteering(name string) (Steering, error) {
	for i, one := range steeringNames {
		if name == one {
			return Steering(i), nil
		}
	}
	return 0, fmt.Errorf("backend: steering %q: must be one of %s", name, strings.Join(steeringNames[:], ", "))
}

// steered is what the operator decided. Of ForceDown and Drain no request is
// given to the endpoint, panic or not.
func (ep *endpoint) steered() Steering { return Steering(ep.steering.Load()) }

// Steer sets what the operator decides about an endpoint, by its name as
// [Backend.Endpoints] has it. The name of an [Endpoint] with several addresses
// means all of them, those that come later included; NAME@ADDRESS means one. It
// lasts until it is changed, also over Update for an endpoint that stays. The
// error of an unknown name lists what there is.
func (b *Backend) Steer(endpoint string, s Steering) error {
	if int(s) >= len(steeringNames) {
		return fmt.Errorf("backend: Steer: %v: must be one of %s", s, strings.Join(steeringNames[:], ", "))
	}
	have, found := b.steer(endpoint, s)
	if !found {
		return fmt.Errorf("backend: Steer: no endpoint %q: there are %s", endpoint, strings.Join(have, ", "))
	}
	b.endpointsChanged()
	return nil
}

// steer tells which endpoints there are, and whether one was meant.
func (b *Backend) steer(endpoint string, s Steering) (have []string, found bool) {
	b.setMu.Lock()
	defer b.setMu.Unlock()
	st := b.now()
	for i := range st.sources {
		src := &st.sources[i]
		all := src.target.name == endpoint
		if all {
			src.steering.Store(uint32(s))
			found = true
		}
		for k, ep := range src.endpoints {
			have = append(have, ep.name)
			addrs := src.settings[k].addrs
			if all || ep.name == endpoint || len(addrs) == 1 && endpoint == src.target.name+"@"+addrs[0].String() {
				was := Steering(ep.steering.Swap(uint32(s)))
				if was == ForceDown && s != ForceDown && s != Drain {
					ep.warmUp(b)
				}
				found = true
			}
		}
	}
	return have, found
}
