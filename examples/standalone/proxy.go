package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/holdfast-go/holdfast/backend"
)

// proxy is the running program.
type proxy struct {
	cfg    config
	log    *slog.Logger
	gate   gate
	stack  *stack
	public *site
	admin  *site
	demo   *demo      // nil with -backend
	failed chan error // a listener that ended by itself

	saving sync.RWMutex // guards saved; held for reading while something is purged
	saved  bool         // the snapshot is being written: nothing is purged any more
}

// serve runs the proxy until a signal or the end of ctx, and drains it.
func serve(ctx context.Context, cfg config, stdout, stderr io.Writer) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	p := &proxy{cfg: cfg, log: newLogger(cfg, stderr), failed: make(chan error, 4)}
	defer p.close() //nolint:contextcheck // what is left at the end ends whatever ctx says
	if err := p.open(ctx); err != nil {
		fmt.Fprintln(stderr, "holdfast:", oneLine(err))
		return exitFailed
	}
	p.start() //nolint:contextcheck // visitors come with their own
	fmt.Fprint(stdout, p.banner())

	select {
	case <-signals:
	case <-ctx.Done():
	case err := <-p.failed:
		fmt.Fprintln(stderr, "holdfast:", oneLine(err))
		return exitFailed
	}
	abort, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	go func() {
		select {
		case <-signals:
			cancel(errSecondSignal)
		case <-abort.Done():
		}
	}()
	if err := p.drain(abort); err != nil {
		fmt.Fprintln(stderr, "holdfast:", oneLine(err))
		return exitFailed
	}
	return exitOK
}

// oneLine keeps joined errors on the line of their program's name.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// newLogger writes lines of key=value. The demonstration writes none: its origin
// is broken on purpose, and its control page tells what comes of it.
func newLogger(cfg config, w io.Writer) *slog.Logger {
	if cfg.demo {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// open takes all addresses and makes all parts, and answers nothing yet. What was
// opened before an error is ended by close.
func (p *proxy) open(ctx context.Context) error {
	var err error
	if p.public, err = open(ctx, "listen", p.cfg.listen); err != nil {
		return err
	}
	if p.admin, err = open(ctx, "admin", p.cfg.admin); err != nil {
		return err
	}
	endpoints, t := endpointsOf(p.cfg.backends), siteTuning(p.cfg)
	if p.cfg.demo {
		if p.demo, err = openDemo(ctx, p.cfg.control, p.public.url()); err != nil {
			return err
		}
		endpoints, t = p.demo.endpoints(), demoTuning()
	}
	if p.stack, err = newStack(ctx, p.cfg, t, endpoints, p.log); err != nil {
		return err
	}
	p.restore()
	return nil
}

// start begins to answer.
func (p *proxy) start() {
	p.stack.page.MaintenanceState() // so that the log begins with it
	h := p.stack.handler
	if p.demo != nil {
		h = p.demo.start(h, p)
	}
	p.public.start(p.gate.Handler(stallGuard(clientStall).Handler(h)), p.stack.observer.ServerLog(), p.failed)
	p.admin.start(p.adminHandler(), p.stack.observer.ServerLog(), p.failed)
}

// private lists the sites that are not for visitors.
func (p *proxy) private() []*site {
	if p.demo != nil {
		return []*site{p.admin, p.demo.control}
	}
	return []*site{p.admin}
}

// close ends at once whatever is still there.
func (p *proxy) close() {
	for _, s := range []*site{p.public, p.admin} {
		if s != nil {
			s.close()
		}
	}
	if p.stack != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = errors.Join(p.stack.cache.Shutdown(now), p.stack.backend.Shutdown(now), p.stack.observer.Shutdown(now)) // there is no time left to wait for anything
	}
	if p.demo != nil {
		p.demo.close()
	}
}

// banner says where everything is, once everything is there.
func (p *proxy) banner() string {
	if p.demo != nil {
		return p.demo.banner(p)
	}
	var b strings.Builder
	names := make([]string, 0, len(p.cfg.backends))
	for _, u := range p.cfg.backends {
		names = append(names, u.String())
	}
	fmt.Fprintf(&b, "holdfast: %s stands in front of %s\n", p.public.url(), strings.Join(names, ", "))
	fmt.Fprintf(&b, "holdfast: %s has /healthz, /readyz, /metrics, /purge and /explain\n", p.admin.url())
	return b.String()
}

// endpoints is the embedded origin, as any other would be given.
func (d *demo) endpoints() []backend.Endpoint {
	return []backend.Endpoint{{URL: "http://" + d.origin.addr, Name: "origin"}}
}
