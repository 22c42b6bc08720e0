package errorpage

// form is a plural category of CLDR (Unicode TR 35, part 3).
type form uint8

const (
	other form = iota
	zero
	one
	two
	few
	many

	numForms
)

var formNames = [numForms]string{"Other", "Zero", "One", "Two", "Few", "Many"}

func (f form) String() string { return formNames[f] }

// pluralRule is CLDR's rule for whole numbers of a language. Ours count from 1, so
// what a language does with 0, and from a million on, matters little.
type pluralRule func(n int) form

// pluralOf returns the rule of a language, given as its subtag ("pt"). One that
// CLDR doesn't know is thought to have a singular and a plural.
func pluralOf(language string) pluralRule {
	switch language {
	case "bm", "bo", "dz", "hnj", "id", "ig", "ii", "ja", "jbo", "jv", "kde", "kea", "km", "ko", "lkt", "lo", "ms", "my", "nqo",
		"osa", "sah", "ses", "sg", "su", "th", "to", "tpi", "vi", "wo", "yo", "yue", "zh":
		return func(int) form { return other }
	case "ak", "am", "as", "bho", "bn", "doi", "fa", "ff", "fr", "gu", "guw", "hi", "hy", "kab", "kn", "ln", "mg", "nso", "pa",
		"pcm", "pt", "si", "ti", "wa", "zu":
		return func(n int) form { return pick(n <= 1, one, other) }
	case "tzm":
		return func(n int) form { return pick(n <= 1 || in(n, 11, 99), one, other) }
	case "is", "mk":
		return func(n int) form { return pick(n%10 == 1 && n%100 != 11, one, other) }
	case "ceb", "fil", "tl":
		return func(n int) form { return pick(n%10 == 4 || n%10 == 6 || n%10 == 9, other, one) }
	case "iu", "naq", "sat", "se", "sma", "smi", "smj", "smn", "sms", "he":
		return func(n int) form { return pick(n == 1, one, pick(n == 2, two, other)) }
	case "shi":
		return func(n int) form { return pick(n <= 1, one, pick(n <= 10, few, other)) }
	case "cs", "sk":
		return func(n int) form { return pick(n == 1, one, pick(in(n, 2, 4), few, other)) }
	case "ro", "mo":
		return func(n int) form {
			return pick(n == 1, one, pick(n == 0 || in(n%100, 1, 19), few, other))
		}
	}
	if rule, ok := richRules[language]; ok {
		return rule
	}
	return func(n int) form { return pick(n == 1, one, other) }
}

// richRules are those of languages that look at a number's last digits.
var richRules = map[string]pluralRule{
	"lv": latvian, "prg": latvian,
	"bs": southSlavic, "hr": southSlavic, "sh": southSlavic, "sr": southSlavic,
	"be": eastSlavic, "ru": eastSlavic, "uk": eastSlavic, "pl": polish,
	"sl": slovenian, "dsb": slovenian, "hsb": slovenian,
	"lt": lithuanian, "br": breton, "mt": maltese,
	"ar": arabic, "ars": arabic, "cy": welsh, "ga": irish, "gd": scottish, "gv": manx, "kw": cornish,
	"ksh": ripuarian, "lag": ripuarian,
}

func arabic(n int) form {
	switch {
	case n <= 2:
		return [...]form{zero, one, two}[n]
	case in(n%100, 3, 10):
		return few
	case n%100 >= 11:
		return many
	}
	return other
}

func eastSlavic(n int) form {
	f := southSlavic(n)
	return pick(f == other, many, f)
}

func southSlavic(n int) form {
	switch {
	case in(n%100, 11, 14):
		return other
	case n%10 == 1:
		return one
	case in(n%10, 2, 4):
		return few
	}
	return other
}

func polish(n int) form {
	switch {
	case n == 1:
		return one
	case southSlavic(n) == few:
		return few
	}
	return many
}

func slovenian(n int) form {
	switch n % 100 {
	case 1:
		return one
	case 2:
		return two
	case 3, 4:
		return few
	}
	return other
}

func lithuanian(n int) form {
	switch {
	case in(n%100, 11, 19), n%10 == 0:
		return other
	case n%10 == 1:
		return one
	}
	return few
}

func latvian(n int) form {
	switch {
	case n%10 == 0, in(n%100, 11, 19):
		return zero
	case n%10 == 1:
		return one
	}
	return other
}

func breton(n int) form {
	tens := n % 100 / 10
	odd := tens == 1 || tens == 7 || tens == 9
	switch {
	case n%10 == 1 && !odd:
		return one
	case n%10 == 2 && !odd:
		return two
	case (n%10 == 3 || n%10 == 4 || n%10 == 9) && !odd:
		return few
	case n != 0 && n%1_000_000 == 0:
		return many
	}
	return other
}

func maltese(n int) form {
	switch {
	case n == 1:
		return one
	case n == 2:
		return two
	case n == 0, in(n%100, 3, 10):
		return few
	case in(n%100, 11, 19):
		return many
	}
	return other
}

func welsh(n int) form {
	switch n {
	case 0:
		return zero
	case 1:
		return one
	case 2:
		return two
	case 3:
		return few
	case 6:
		return many
	}
	return other
}

func irish(n int) form {
	switch {
	case n == 1:
		return one
	case n == 2:
		return two
	case in(n, 3, 6):
		return few
	case in(n, 7, 10):
		return many
	}
	return other
}

func scottish(n int) form {
	switch {
	case n == 1, n == 11:
		return one
	case n == 2, n == 12:
		return two
	case in(n, 3, 19):
		return few
	}
	return other
}

func manx(n int) form {
	switch {
	case n%10 == 1:
		return one
	case n%10 == 2:
		return two
	case n%20 == 0:
		return few
	}
	return other
}

func cornish(n int) form {
	switch {
	case n <= 1:
		return [...]form{zero, one}[n]
	case n%20 == 2,
		n%1000 == 0 && (in(n%100_000, 1000, 20_000) || n%100_000 == 40_000 || n%100_000 == 60_000 || n%100_000 == 80_000),
		n%1_000_000 == 100_000:
		return two
	case n%20 == 3:
		return few
	case n%20 == 1:
		return many
	}
	return other
}

func ripuarian(n int) form { return pick(n == 0, zero, pick(n == 1, one, other)) }

func in(n, low, high int) bool { return low <= n && n <= high }

func pick(yes bool, a, b form) form {
	if yes {
		return a
	}
	return b
}
