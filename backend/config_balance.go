package backend

// maxWeight bounds the weights, so that their sums are exact.
const maxWeight = 1_000_000

// checkBalance checks what concerns the choice of an endpoint, and fills in the
// defaults.
func (cfg *Config) checkBalance(fail failFunc) {
	if int(cfg.Balance) >= len(balanceNames) {
		fail("Config.Balance is %v: must be PowerOfTwo, RoundRobin, LeastInFlight or ConsistentHash", cfg.Balance)
	}
	if cfg.Balance == ConsistentHash && cfg.HashKey == nil {
		fail("Config.HashKey is nil: Balance ConsistentHash needs it")
	}
	cfg.Sticky.check(fail)
	cfg.Hedge.check(fail)
	switch t := cfg.PanicThreshold; {
	case t == 0:
		cfg.PanicThreshold = defaultPanicThreshold
	case t != t || t > 1:
		fail("Config.PanicThreshold is %v: must be at most 1, 0 for %v, or negative for never", t, defaultPanicThreshold)
	}
}
