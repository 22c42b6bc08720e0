package observe

import (
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-go/holdfast/cache"
)

// maxStores bounds the stores that are shown.
const maxStores = 100

// CacheStore adds a store to the metrics, for instance with Stats of a cache.Cache:
// what it holds and may hold, and what it let go. stats is called for every
// scrape, from any goroutine, and must not block.
//
// The name is the label "store". It is an error if there is a store of that name,
// or if there are 100.
func (o *Observer) CacheStore(name string, stats func() cache.StoreStats) error {
	s := o.metrics.stores
	s.mu.Lock()
	defer s.mu.Unlock()
	name = clean([]string{name})[0]
	switch {
	case stats == nil:
		return fmt.Errorf("observe: CacheStore(%q, nil): must be a func, such as Stats of a cache", name)
	case slices.ContainsFunc(s.all, func(st store) bool { return st.name == name }):
		return fmt.Errorf("observe: CacheStore(%q): there is a store of that name", name)
	case len(s.all) >= maxStores:
		return fmt.Errorf("observe: CacheStore(%q): there are %d stores, must be at most that many", name, maxStores)
	}
	s.all = append(slices.Clip(s.all), store{name, stats})
	return nil
}

type store struct {
	name  string
	stats func() cache.StoreStats
}

// stores shows what stores say of themselves when they are asked.
type stores struct {
	mu  sync.Mutex // guards all, whose elements never change
	all []store

	bytes, limit, entries, fills, evicted, expired, rejected *prometheus.Desc
}

func newStores() *stores {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, append([]string{"store"}, labels...), nil)
	}
	return &stores{
		bytes:    desc("cache_store_bytes", "What entries, and fills in flight, hold now.", "of"),
		limit:    desc("cache_store_limit_bytes", "What entries, and fills in flight, may hold.", "of"),
		entries:  desc("cache_store_entries", "Stored responses, each variant of a URL counted."),
		fills:    desc("cache_store_fills", "Fetches in flight."),
		evicted:  desc("cache_store_evicted_total", "Entries that made room for others or expired."),
		expired:  desc("cache_store_expired_total", "Entries that expired."),
		rejected: desc("cache_store_rejected_total", "Responses that were not admitted, since what was there is asked for more often."),
	}
}

// Describe implements prometheus.Collector.
func (s *stores) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.bytes, s.limit, s.entries, s.fills, s.evicted, s.expired, s.rejected} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *stores) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	all := s.all
	s.mu.Unlock()
	for _, st := range all {
		v := st.stats()
		gauge := func(d *prometheus.Desc, n int64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), append([]string{st.name}, labels...)...)
		}
		gauge(s.bytes, v.EntryBytes, "entries")
		gauge(s.bytes, v.FillBytes, "fills")
		gauge(s.limit, v.EntryLimit, "entries")
		gauge(s.limit, v.FillLimit, "fills")
		gauge(s.entries, v.Entries)
		gauge(s.fills, int64(v.Fills))
		for d, n := range map[*prometheus.Desc]uint64{s.evicted: v.Evicted, s.expired: v.Expired, s.rejected: v.Rejected} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), st.name)
		}
	}
}
