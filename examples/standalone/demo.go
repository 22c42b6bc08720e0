package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/errorpage"
)

// demo is what the demonstration has beside the proxy: an origin to break, a
// page to break it on, and visitors who keep coming, so that something is seen.
type demo struct {
	origin  *origin
	control *site
	pages   *pageSet
	record  record
	target  string // where the visitors go

	crowd    context.Context // ends with the visitors and the streams
	disperse context.CancelFunc
	visitors sync.WaitGroup
}

// openDemo opens the control page's address and the origin.
func openDemo(ctx context.Context, addr, target string) (*demo, error) {
	d := &demo{target: target}
	var err error
	if d.pages, err = newPageSet(); err != nil {
		return nil, err
	}
	if d.control, err = open(ctx, "control", addr); err != nil {
		return nil, err
	}
	d.crowd, d.disperse = context.WithCancel(context.WithoutCancel(ctx))
	if d.origin, err = openOrigin(ctx, d.pages.site(d.control.url(), d.crowd.Done())); err != nil {
		d.disperse()
		d.control.close()
		return nil, err
	}
	return d, nil
}

// demoTuning makes visible within seconds what takes longer in earnest.
func demoTuning() tuning {
	return tuning{
		breaker: breaker.Config{
			Window:    5 * time.Second,
			MinVolume: 4,
			OpenFor:   3 * time.Second,
			SlowCall:  2 * time.Second,
			Trials:    1,
		},
		retryStale: -1, // every visit asks, so that healing shows at once
		page: errorpage.Config{
			Brand: "Holdfast demonstration",
			Color: "#0f766e",
			Messages: map[string]map[errorpage.Group]string{"en": {
				errorpage.Unavailable: brokenDemo,
				errorpage.Timeout:     brokenDemo,
				errorpage.Internal:    brokenDemo,
				errorpage.Maintenance: "This demonstration is closed until you open it again.",
			}},
			Intercept5xx: true,
		},
	}
}

const brokenDemo = "The origin of this demonstration is broken, and this page was not stored. The stored pages still answer."

// start opens the control page and sends the visitors; the handler that it
// returns is what they meet.
func (d *demo) start(h http.Handler, p *proxy) http.Handler {
	d.control.start(d.controlHandler(p), p.stack.observer.ServerLog(), p.failed)
	for _, path := range shownPages {
		d.visitors.Go(func() { d.visit(path) })
	}
	return d.record.Handler(h)
}

// visit asks for one page a second.
func (d *demo) visit(path string) {
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		_ = d.fetch(client, path) // what came is on the record
		select {
		case <-tick.C:
		case <-d.crowd.Done():
			return
		}
	}
}

func (d *demo) fetch(client *http.Client, path string) error {
	req, err := http.NewRequestWithContext(d.crowd, http.MethodGet, d.target+path, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", visitorAgent)
	req.Header.Set("Accept", "text/html")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// quiet ends the visitors and the streams: a drain is not to wait for them.
func (d *demo) quiet() {
	d.disperse()
	d.visitors.Wait()
}

// close ends everything at once.
func (d *demo) close() {
	d.origin.close()
	d.control.close()
	d.quiet()
}

// banner is what a newcomer reads first.
func (d *demo) banner(p *proxy) string {
	site, control := p.public.url(), d.control.url()
	var b strings.Builder
	row := func(width int, left, right string) {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, left, right)
	}
	b.WriteString("\nHoldfast keeps a site answering while its origin is slow, broken or gone.\n")
	b.WriteString("This is a demonstration: the proxy, and an origin that you may break.\n\n")
	row(30, "the site, through the proxy", site+"/")
	row(30, "break and heal its origin", control+"/")
	row(30, "health, readiness, metrics", p.admin.url()+"/readyz")
	b.WriteString("\nOpen the first two side by side, or try\n\n")
	width := len("curl -X POST " + control + "/maintenance/off")
	for _, try := range [][2]string{
		{"curl -i " + site + "/time", "stored for 5 s: see Cache-Status"},
		{"curl -X POST " + control + "/break/refuse", "stop the origin (or: stall, 500, slow, truncate)"},
		{"curl -i " + site + "/time", "still there, from the store"},
		{"curl -i " + site + "/uncached", "never stored: the error page, and Proxy-Status says why"},
		{"curl -X POST " + control + "/heal", "bring it back"},
		{"curl -X POST " + control + "/maintenance/on", "planned work: the page for everybody"},
		{"curl -X POST " + control + "/maintenance/off", "and its end"},
		{"curl -N " + site + "/stream", "events, one a second, passed on as they come"},
	} {
		row(width, try[0], try[1])
	}
	b.WriteString("\nIn front of your own site:  go run ./examples/standalone -backend http://127.0.0.1:3000\n")
	b.WriteString("All flags: -h.  Ctrl-C ends this.\n\n")
	return b.String()
}
