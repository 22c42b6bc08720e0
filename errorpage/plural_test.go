package errorpage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

// cldr are the languages whose rules x/text knows.
const cldr = `af ak am ar ars as asa ast az be bem bez bg bm bn bo br brx bs ca ce cgg chr ckb cs cy da de dsb dv dz ee el en eo es et
eu fa ff fi fil fo fr fur fy ga gd gl gsw gu guw gv ha haw hi hr hsb hu hy id ig ii io is it ja jbo jgo jmc jv ka kab kaj
kcg kde kea kk kkj kl km kn ko ks ksb ksh ku ky lag lb lg lkt ln lo lt lv mas mg mgo ml mn ms my nah naq nb nd ne nl nn
nnh no nqo nr nso ny nyn om or os pa pap pl prg ps pt rm ro rof ru rwk sah saq sd sdh se seh ses sg sh shi si sk sl sma smi smj
smn sms sn so sq sr ss ssy st sv sw syr ta te teo th ti tig tk tl tn to tr ts tzm ug uk ur uz ve vi vo vun wa wae wo xh xog yi
yo yue zh zu`

var xtextForms = map[plural.Form]form{
	plural.Other: other, plural.Zero: zero, plural.One: one, plural.Two: two, plural.Few: few, plural.Many: many,
}

func TestPluralsAreThoseOfCLDR(t *testing.T) {
	numbers := []int{1000, 1001, 1002, 2000, 10_000, 20_000, 21_000, 40_000, 100_000, 1_000_000, 2_000_001}
	for n := range 420 {
		numbers = append(numbers, n)
	}
	for base := range strings.FieldsSeq(cldr) {
		rule, tag := pluralOf(base), language.MustParse(base)
		for _, n := range numbers {
			want := xtextForms[plural.Cardinal.MatchPlural(tag, n, 0, 0, 0, 0)]
			if got := rule(n); got != want {
				t.Errorf("%s: the form for %d is %v, want %v", base, n, got, want)
				break
			}
		}
	}
}

// CLDR changed these after the version that x/text has; others it got since.
func TestPluralsOfLaterCLDR(t *testing.T) {
	for base, want := range map[string]string{
		"he":  "0 Other, 1 One, 2 Two, 3 Other, 20 Other, 100 Other",
		"mt":  "0 Few, 1 One, 2 Two, 3 Few, 10 Few, 11 Many, 19 Many, 20 Other, 102 Other, 103 Few",
		"kw":  "0 Zero, 1 One, 2 Two, 3 Few, 4 Other, 21 Many, 22 Two, 23 Few, 100 Other, 1000 Two, 100000 Two",
		"mk":  "1 One, 11 Other, 21 One, 111 Other",
		"mr":  "0 Other, 1 One, 2 Other",
		"ceb": "1 One, 4 Other, 5 One, 6 Other, 9 Other, 1000 One",
		"su":  "1 Other, 2 Other",
		"bho": "0 One, 1 One, 2 Other",
		"sat": "1 One, 2 Two, 3 Other",
		"xx":  "0 Other, 1 One, 2 Other",
	} {
		for pair := range strings.SplitSeq(want, ", ") {
			var n int
			var name string
			if _, err := fmt.Sscan(pair, &n, &name); err != nil {
				t.Fatal(err)
			}
			if got := pluralOf(base)(n); got.String() != name {
				t.Errorf("%s: the form for %d is %v, want %s", base, n, got, name)
			}
		}
	}
}

// Every form that a language uses in whole numbers occurs up to enough.
func TestEnoughIsEnough(t *testing.T) {
	for base := range strings.FieldsSeq(cldr) {
		rule := pluralOf(base)
		var early [numForms]bool
		for n := 1; n <= enough; n++ {
			early[rule(n)] = true
		}
		for n := 1; n < 30_000; n++ {
			if f := rule(n); !early[f] {
				t.Errorf("%s: %d is the first with the form %v: no check would miss it", base, n, f)
				break
			}
		}
	}
	if slices.Contains(formNames[:], "") {
		t.Errorf("a form has no name: %q", formNames)
	}
}
