package observe

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/errorpage"
)

func TestMaintenance(t *testing.T) {
	o, log := newObserver(t, Config{})
	if text := scrape(t, o); strings.Contains(text, "holdfast_maintenance") {
		t.Errorf("a page that nobody added is shown:\n%s", text)
	}
	page, err := errorpage.New(errorpage.Config{Observe: o.ErrorPage})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Maintenance(nil); err == nil {
		t.Error("nil is taken")
	}
	if err := o.Maintenance(page.MaintenanceState); err != nil {
		t.Fatal(err)
	}
	if err := o.Maintenance(page.MaintenanceState); err == nil {
		t.Error("a second one is taken")
	}
	wantSamples(t, scrape(t, o), "holdfast_maintenance 0")

	until := time.Unix(1<<33, 0)
	page.StartMaintenance(until)
	wantSamples(t, scrape(t, o), "holdfast_maintenance 1", "holdfast_maintenance_end_timestamp_seconds 8.589934592e+09")
	if l := log.one(t, "maintenance on"); l["level"] != "WARN" || l["by"] != "api" || l["until"] != until.UTC().Format(time.RFC3339) || l["since"] == nil {
		t.Errorf("%v", l)
	}
	h := o.Handler(page.Handler(page.Maintenance(http.NotFoundHandler())))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	if l := log.one(t, "request failed"); w.Code != http.StatusServiceUnavailable || l["level"] != "INFO" || l["cause"] != "maintenance" {
		t.Errorf("%d, %v", w.Code, l)
	}
	wantSamples(t, scrape(t, o), `holdfast_failures_total{cause="maintenance",rung="unmended"} 1`, `holdfast_errorpage_served_total{code="503",format="text"} 1`)
	page.EndMaintenance()
	if l := log.one(t, "maintenance off"); l["level"] != "INFO" || l["by"] != nil {
		t.Errorf("%v", l)
	}
	if text := scrape(t, o); strings.Contains(text, "holdfast_maintenance_end") || !strings.Contains(text, "\nholdfast_maintenance 0\n") {
		t.Errorf("off:\n%s", text)
	}
}

// A scrape looks at the file as a request does: the line is there without visitors.
func TestMaintenanceSeenByScrape(t *testing.T) {
	o, log := newObserver(t, Config{})
	dir := filepath.Join(t.TempDir(), "maintenance")
	page, err := errorpage.New(errorpage.Config{Observe: o.ErrorPage, Maintenance: errorpage.MaintenanceConfig{File: dir}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := o.Maintenance(page.MaintenanceState); err != nil {
		t.Fatal(err)
	}
	wantSamples(t, scrape(t, o), "holdfast_maintenance 0")
	if l := log.one(t, "maintenance unknown"); l["level"] != "WARN" || !strings.Contains(l["detail"].(string), "a directory") {
		t.Errorf("%v", l)
	}
}
