package backend

import (
	"crypto/tls"
	"crypto/x509"
	"reflect"
	"slices"
)

// Update replaces the configuration while requests are under way. A cfg that
// [New] would refuse changes nothing; the error is New's. After Shutdown there
// is an error, too.
//
// An endpoint whose Name, URL and TLS settings are unchanged keeps everything
// that is known of it: its connections, checks, ejection, latency, gate and
// [Backend.Steer]. A handler is known by its Name alone. Others are new, and
// those that cfg has no more are drained: their requests finish, then their
// connections are closed. TLS settings with funcs are unchanged only if they are
// the same *tls.Config.
//
// A request keeps the limits and the choice of endpoints that it came in under.
// NewGate and NewLimit are called for endpoints that have no gate or limit of
// their own yet, perhaps twice where two changes meet ([Config.NewGate]). Update
// may be called at any time and from several goroutines; the last one counts.
func (b *Backend) Update(cfg Config) error {
	from := cfg.TLS
	cfg, targets, err := resolved(cfg)
	if err != nil {
		return err
	}
	if !b.change(func(old *state, w *workshop) *state {
		next := b.plan(old, cfg, targets, sameTLS(old.cfg.TLS, cfg.TLS, old.tlsFrom == from), w)
		next.tlsFrom = from
		return next
	}) {
		return errShutdown
	}
	return nil
}

// sameTLS tells whether two configurations mean the same. Funcs can't be
// compared: with one in it a configuration is the same only if identical is
// true, they come from the same *tls.Config.
func sameTLS(a, b *tls.Config, identical bool) bool {
	if a == nil || b == nil {
		return a == b
	}
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		if !va.Type().Field(i).IsExported() {
			continue
		}
		fa, fb := va.Field(i), vb.Field(i)
		same := false
		switch x := fa.Interface().(type) {
		case *x509.CertPool:
			y, _ := reflect.TypeAssert[*x509.CertPool](fb)
			same = x == y || x != nil && y != nil && x.Equal(y)
		case []tls.Certificate:
			y, _ := reflect.TypeAssert[[]tls.Certificate](fb)
			same = slices.EqualFunc(x, y, sameCertificate)
		default:
			switch fa.Kind() {
			case reflect.Func:
				same = fa.IsNil() && fb.IsNil() || identical && !fa.IsNil() && !fb.IsNil()
			case reflect.Interface: // an object with a state of its own
				same = fa.Comparable() && fb.Comparable() && fa.Equal(fb)
			default:
				same = reflect.DeepEqual(fa.Interface(), fb.Interface())
			}
		}
		if !same {
			return false
		}
	}
	return true
}

// sameCertificate compares chains: a leaf has one key.
func sameCertificate(a, b tls.Certificate) bool {
	return reflect.DeepEqual(a.Certificate, b.Certificate)
}
