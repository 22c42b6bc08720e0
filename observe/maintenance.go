package observe

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-go/holdfast/errorpage"
)

// Maintenance adds to the metrics whether maintenance is on, with
// MaintenanceState of an errorpage.Page. state is called for every scrape, from
// any goroutine. It is an error if it is nil, or if there is one.
func (o *Observer) Maintenance(state func() errorpage.MaintenanceState) error {
	if state == nil {
		return errors.New("observe: Maintenance(nil): must be a func, such as MaintenanceState of a page")
	}
	if !o.metrics.maintenance.state.CompareAndSwap(nil, &state) {
		return errors.New("observe: Maintenance: must be called once, there is a page already")
	}
	return nil
}

// maintenance shows what a page says of itself when it is asked.
type maintenance struct {
	state     atomic.Pointer[func() errorpage.MaintenanceState]
	on, until *prometheus.Desc
}

func newMaintenance() *maintenance {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil)
	}
	return &maintenance{
		on:    desc("maintenance", "1 while maintenance is on."),
		until: desc("maintenance_end_timestamp_seconds", "When maintenance ends by itself; there while it is on and its end is known."),
	}
}

// Describe implements prometheus.Collector.
func (m *maintenance) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.on
	ch <- m.until
}

// Collect implements prometheus.Collector.
func (m *maintenance) Collect(ch chan<- prometheus.Metric) {
	state := m.state.Load()
	if state == nil {
		return
	}
	s, on := (*state)(), 0.0
	if s.On {
		on = 1
	}
	ch <- prometheus.MustNewConstMetric(m.on, prometheus.GaugeValue, on)
	if !s.Until.IsZero() {
		ch <- prometheus.MustNewConstMetric(m.until, prometheus.GaugeValue, float64(s.Until.UnixMilli())/1000)
	}
}

// logMaintenance is the line for a change: somebody forgets to end maintenance
// more often than one would think.
func (o *Observer) logMaintenance(ctx context.Context, ev errorpage.Event) {
	level, message := slog.LevelWarn, "maintenance on"
	switch ev.Kind {
	case errorpage.MaintenanceOff:
		level, message = slog.LevelInfo, "maintenance off"
	case errorpage.MaintenanceUnknown:
		message = "maintenance unknown"
	default:
	}
	var attrs []slog.Attr
	if s := ev.Maintenance; s.On {
		attrs = append(attrs, slog.String("by", s.By), slog.Time("since", s.Since.UTC()))
		if !s.Until.IsZero() {
			attrs = append(attrs, slog.Time("until", s.Until.UTC()))
		}
	}
	if ev.Err != nil {
		attrs = append(attrs, slog.String("detail", clip(ev.Err.Error(), maxText)))
	}
	o.log.LogAttrs(ctx, level, message, attrs...)
}
