package cache

import (
	"strings"
	"testing"
	"testing/synctest"
)

func TestNewJoinsAllErrors(t *testing.T) {
	_, err := New(Config{
		MemoryBytes:     -1,
		MaxObjectBytes:  -2,
		FillTimeout:     -3,
		Namespace:       "a\x00b",
		IdentityCookies: []string{"ok", "not ok"},
		Name:            "1abc",
		MaxVariants:     -4,
		Normalize:       Normalize{Encodings: []string{"g zip"}, Languages: []string{"de_AT", "x_y"}, Types: []string{"text/*"}},
	})
	if err == nil {
		t.Fatal("New() = nil, want errors")
	}
	for _, field := range []string{
		"MemoryBytes is -1", "MaxObjectBytes is -2", "FillTimeout is -3ns", "Namespace", `IdentityCookies has "not ok"`, `Name is "1abc"`,
		"MaxVariants is -4: must be at most 1024", `Normalize.Encodings has "g zip"`, `Normalize.Languages has "de_AT"`, `Normalize.Languages has "x_y"`, `Normalize.Types has "text/*"`,
	} {
		if !strings.Contains(err.Error(), "cache: Config."+field) {
			t.Errorf("New() = %v, want it to name %s", err, field)
		}
	}
	if _, err := New(Config{MaxVariants: 1025}); err == nil || !strings.Contains(err.Error(), "MaxVariants is 1025") {
		t.Errorf("New() with 1025 variants = %v, want an error", err)
	}
	if _, err := NewStore(StoreConfig{MemoryBytes: 1000}); err == nil || !strings.Contains(err.Error(), "cache: StoreConfig.MemoryBytes is 1000") {
		t.Errorf("NewStore() = %v", err)
	}
	store, err := NewStore(StoreConfig{MemoryBytes: minMemory})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := New(Config{Store: store, MemoryBytes: 1 << 20}); err == nil {
		t.Error("New() with Store and MemoryBytes = nil, want an error")
	}
}

// TestTinyStore: at the smallest size everything still works, if unstored.
func TestTinyStore(t *testing.T) {
	c := newCache(t, Config{MemoryBytes: minMemory})
	h := c.Handler(page(200, strings.Repeat("x", 100_000), "Cache-Control: max-age=60"))
	if a := do(h, "GET", "/"); len(a.body) != 100_000 {
		t.Errorf("got %d bytes", len(a.body))
	}
	small := c.Handler(page(200, "small", "Cache-Control: max-age=60"))
	do(small, "GET", "/small")
	settled(t, c)
	if a := do(small, "GET", "/small"); !strings.Contains(a.cacheStatus(), "hit") {
		t.Errorf("a small page was not stored: %q", a.cacheStatus())
	}
}

func TestShowKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{ShowKey: true, Namespace: "ns"})
		h := c.Handler(page(200, "x", "Cache-Control: max-age=60"))
		do(h, "GET", "http://example.com/a?b=c")
		settled(t, c)
		if a := do(h, "GET", "http://example.com/a?b=c"); a.cacheStatus() != `holdfast; hit; ttl=60; key="ns http example.com /a?b=c"` {
			t.Errorf("Cache-Status = %q", a.cacheStatus())
		}
	})
}
