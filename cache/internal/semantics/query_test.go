package semantics

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestQuery(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule *Query
		raw  string
		want string
	}{
		{"nil", nil, "b=2&&a=%7e&", "b=2&&a=%7e&"},
		{"no rule is nil", NewQuery(nil, nil, false), "b=2&&a", "b=2&&a"},
		{"what is left stays as it is", NewQuery(nil, []string{"x"}, false), "b=%7e&x=1&&a+b=c%20d", "b=%7e&&a+b=c%20d"},
		{"an empty name", NewQuery(nil, []string{"x"}, false), "=1&x", "=1"},
		{"sorted", NewQuery(nil, nil, true), "b=1&a=2&b=0&a=1", "a=2&a=1&b=1&b=0"},
		{"sorted, names as decoded", NewQuery(nil, nil, true), "c=1&%62=2&a=3", "a=3&%62=2&c=1"},
		{"sorted, empty pairs go", NewQuery(nil, nil, true), "&b&&a&", "a&b"},
		{"sorted and ignored", NewQuery(nil, []string{"x*"}, true), "b&xy=1&a", "a&b"},
		{"sorted and allowed", NewQuery([]string{"b", "a"}, nil, true), "b&xy=1&a", "a&b"},
		{"too many pairs", NewQuery(nil, []string{"x"}, true), strings.Repeat("x&", maxPairs), strings.Repeat("x&", maxPairs)},
		{"a NUL", NewQuery(nil, []string{"x"}, false), "a=\x00&x", "a=\x00n"},
	} {
		if got := string(tt.rule.Append(nil, tt.raw)); got != tt.want {
			t.Errorf("%s: Append(%q) = %q, want %q", tt.name, tt.raw, got, tt.want)
		}
	}
}

func TestPurgeForm(t *testing.T) {
	for in, want := range map[string]string{
		"/a":            "/a",
		"/%7Euser":      "/~user",
		"/%2f%2F":       "/%2F%2F",
		"/%61%2e%2Eb":   "/a..b",
		"/100%":         "/100%",
		"/%zz%4":        "/%zz%4",
		"/%c3%a4?q=%41": "/%C3%A4?q=A",
	} {
		if got := PurgeForm(in); got != want {
			t.Errorf("PurgeForm(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSplitKey(t *testing.T) {
	r := httptest.NewRequest("GET", "http://example.com/a?b", nil)
	key := AppendKey(nil, "n\x00s", "http", r)
	url := string(key)
	key = AppendField(key, "X-A", []string{"1", "2\x00h"})
	key = AppendField(key, "X-B", nil)
	key = AppendField(key, "X-C", []string{""})
	got := SplitKey(string(key))
	want := []string{"X-A: 1, 2\x00nh", "X-B", "X-C: "}
	if got.URL != url || URLPart(string(key)) != url || got.Scheme != "http" || got.Host != "example.com" || got.Path != "/a?b" || !slices.Equal(got.Fields, want) {
		t.Errorf("SplitKey() = %+v, want the fields %q", got, want)
	}
}

func TestTags(t *testing.T) {
	for _, tt := range []struct {
		name      string
		surrogate []string
		tag       []string
		more      []string
		want      []string
		over      bool
	}{
		{"none", nil, nil, nil, nil, false},
		{"both", []string{" a  b ", "c"}, []string{"d e,f ,, g", "a"}, nil, []string{"a", "b", "c", "d e", "f", "g"}, false},
		{"the operator's come first", []string{"a"}, nil, []string{"p", "a"}, []string{"p", "a"}, false},
		{"case counts", []string{"a A"}, nil, nil, []string{"a", "A"}, false},
		{"one that is too long", []string{"a " + strings.Repeat("x", 257)}, nil, nil, []string{"a"}, true},
		{"one that is long enough", []string{strings.Repeat("x", 256)}, nil, nil, []string{strings.Repeat("x", 256)}, false},
		{"too much in all", []string{strings.Repeat("x", 250) + " " + strings.Repeat(strings.Repeat("y", 250)+" ", 200)}, nil, nil, []string{strings.Repeat("x", 250), strings.Repeat("y", 250)}, false},
	} {
		h := http.Header{}
		if tt.surrogate != nil {
			h["Surrogate-Key"] = tt.surrogate
		}
		if tt.tag != nil {
			h["Cache-Tag"] = tt.tag
		}
		if got, over := Tags(h, tt.more); !slices.Equal(got, tt.want) || over != tt.over {
			t.Errorf("%s: Tags() = %q, %t, want %q, %t", tt.name, got, over, tt.want, tt.over)
		}
	}
	many := make([]string, MaxTags+1)
	for i := range many {
		many[i] = "t" + string(rune('0'+i))
	}
	if got, over := Tags(http.Header{"Cache-Tag": {strings.Join(many, ",")}}, nil); len(got) != MaxTags || !over {
		t.Errorf("of %d tags there are %d, more %t", len(many), len(got), over)
	}
}

// TestGroups: at least 32 members of 32 characters (RFC 9875 section 2).
func TestGroups(t *testing.T) {
	var members []string
	for i := range 32 {
		members = append(members, `"`+strings.Repeat(string(rune('A'+i%26)), 30)+string(rune('a'+i/26))+`x"`)
	}
	if got, over := Groups([]string{strings.Join(members[:16], ", "), strings.Join(members[16:], ",")}); len(got) != 32 || over {
		t.Errorf("of 32 groups there are %d, more %t", len(got), over)
	}
	for _, bad := range []string{"a", `"a" "b"`, `("a")`, `"ä"`, `1`, `:YQ==:`, `"a",`} {
		if got, over := Groups([]string{bad}); got != nil || over {
			t.Errorf("Groups(%s) = %q, %t, want none", bad, got, over)
		}
	}
	if got, _ := Groups([]string{`"", "a\"b\\"`}); !slices.Equal(got, []string{"", `a"b\`}) {
		t.Errorf("Groups() = %q", got)
	}
}

// FuzzQuery: whatever the query, what the rule leaves is stable, and no pair
// that is left was not there.
func FuzzQuery(f *testing.F) {
	f.Add("utm_x=1&a=2;b&&%zz=1")
	f.Add("b=1&a=2&b=0")
	f.Add("%75tm_x&+id=1&id[]=2")
	rules := []*Query{
		NewQuery(nil, []string{"utm_*", "x"}, false), NewQuery(nil, []string{"utm_*"}, true),
		NewQuery([]string{"id"}, nil, false), NewQuery([]string{}, nil, true), NewQuery(nil, nil, true),
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.IndexByte(raw, 0) >= 0 {
			return
		}
		for i, q := range rules {
			once := string(q.Append(nil, raw))
			if again := string(q.Append(nil, once)); again != once {
				t.Fatalf("rule %d of %q: %q, then %q", i, raw, once, again)
			}
			pairs := strings.Split(raw, "&")
			for pair := range strings.SplitSeq(once, "&") {
				if pair != "" && !slices.Contains(pairs, pair) {
					t.Fatalf("rule %d of %q leaves %q, which was not there", i, raw, pair)
				}
			}
		}
		// What an origin finds of an allowed name, the key has, too.
		if values, err := url.ParseQuery(raw); err == nil {
			left, _ := url.ParseQuery(string(rules[2].Append(nil, raw)))
			if !slices.Equal(values["id"], left["id"]) {
				t.Fatalf("of %q the key has %q", raw, left["id"])
			}
		}
	})
}

// FuzzTags: the bounds hold, and nothing is made up.
func FuzzTags(f *testing.F) {
	f.Add("a b", "c, d", "e")
	f.Fuzz(func(t *testing.T, surrogate, tag, more string) {
		tags, over := Tags(http.Header{"Surrogate-Key": {surrogate}, "Cache-Tag": {tag}}, []string{more})
		total := 0
		for i, one := range tags {
			total += len(one)
			if one == "" || len(one) > MaxTagBytes || slices.Contains(tags[:i], one) || !strings.Contains(surrogate+"\n"+tag+"\n"+more, one) {
				t.Fatalf("Tags(%q, %q, %q) has %q", surrogate, tag, more, one)
			}
		}
		if len(tags) > MaxTags || total > maxTagTotal {
			t.Fatalf("%d tags of %d bytes", len(tags), total)
		}
		if !over && len(surrogate)+len(tag)+len(more) > 0 && len(tags) == 0 && strings.Trim(surrogate+more, " \t") != "" {
			t.Fatalf("Tags(%q, %q, %q) = none", surrogate, tag, more)
		}
	})
}

func FuzzGroups(f *testing.F) {
	f.Add(`"a", "b";p=1`)
	f.Add(`("a" "b")`)
	f.Fuzz(func(t *testing.T, line string) {
		groups, over := Groups([]string{line})
		if over && len(groups) == 0 && len(line) <= MaxTagBytes {
			t.Fatalf("Groups(%q) = %q, %t", line, groups, over)
		}
		for i, one := range groups {
			if len(one) > MaxTagBytes || slices.Contains(groups[:i], one) {
				t.Fatalf("Groups(%q) has %q", line, one)
			}
		}
	})
}

// TestAllowedSpellings: what some framework takes for an allowed parameter is
// never left out.
func TestAllowedSpellings(t *testing.T) {
	q := NewQuery([]string{"id", "a_b"}, nil, false)
	for _, pair := range []string{
		"id=1", "%69d=1", "ID=1", "id[]=1", "id[x]=1", "+id=1", "%20id=1", "id%00x=1", // PHP and others
		"[id]=1", "[id][x]=1", "%5Bid%5D=1", // qs, Rack
		"id]=1", "]id=1", "[[id]]=1", // Rack
		"a_b=1", "a.b=1", "a+b=1", "a[b=1", "a%5Bb=1", // PHP
		"id+=1", "%0bid=1",
	} {
		if got := string(q.Append(nil, pair)); got != pair {
			t.Errorf("Append(%s) = %q, want it", pair, got)
		}
	}
	for _, pair := range []string{"x=1", "idx=1", "x[id]=1", "xid=1", "ab=1"} {
		if got := string(q.Append(nil, pair)); got != "" {
			t.Errorf("Append(%s) = %q, want nothing", pair, got)
		}
	}
}
