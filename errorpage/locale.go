package errorpage

import (
	stdjson "encoding/json"
	htmlpkg "html"
	"strconv"
	"strings"

	"golang.org/x/text/language"
)

// Texts are the words of a page in one language. What is empty is taken from
// the texts of the language that this is a variety of (de-CH: de), from those
// that are built in for it, and at last from the English ones. All is text, not
// markup: UTF-8 without control characters and without those that turn the
// direction of what follows, at most 1000 bytes for a message and 200 for each of
// the others.
type Texts struct {
	// Groups says what happened and what the visitor can do.
	Groups map[Group]Text
	// Wait says when to try again.
	Wait Wait
	// Retrying says that the page tries again by itself.
	Retrying string
	// GaveUp says that it does so no longer.
	GaveUp string
	// Status, Request and Support label the status code, the request id and the
	// link to where help is.
	Status, Request, Support string
}

// Text is what a page says of one Group.
type Text struct {
	Heading string // a few words without a full stop; the title, too
	Message string // one or two sentences
}

// Wait is the sentence that says when to try again, for each unit: seconds up
// to 120, then minutes up to 120, then hours up to 48, then days. A time is
// rounded up.
type Wait struct {
	Seconds, Minutes, Hours, Days Forms
}

// Forms is a sentence with a number in it, in the plural forms of CLDR (Unicode
// Technical Standard 35, part 3). {n} stands for the number:
//
//	Forms{One: "Try again in {n} minute.", Other: "Try again in {n} minutes."}
//
// A language's own forms for whole numbers from 1 on are all required (English
// has One and Other, Polish One, Few and Many, Japanese only Other); others are
// not looked at. A form that stands for a single number may do without {n}. The
// characters < > & " \ are refused here.
type Forms struct {
	Zero, One, Two, Few, Many, Other string
}

// of returns the form f.
func (fs *Forms) of(f form) string {
	switch f {
	case zero:
		return fs.Zero
	case one:
		return fs.One
	case two:
		return fs.Two
	case few:
		return fs.Few
	case many:
		return fs.Many
	case other, numForms:
	}
	return fs.Other
}

// words is a text as each format takes it.
type words struct {
	text string // as it is
	html string // escaped for the text of an element and for a quoted attribute
	json string // escaped for the inside of a string
}

func newWords(s string) words {
	w := words{text: s, html: htmlpkg.EscapeString(s), json: s}
	if quoted, err := stdjson.Marshal(s); err == nil { // a string always has a form in JSON
		w.json = string(quoted[1 : len(quoted)-1])
	}
	return w
}

// wording is what a page says of one group.
type wording struct {
	heading, message words
}

// locale is a language that pages are offered in: all of its texts, ready to be
// spliced in. It never changes.
type locale struct {
	index    int // in locales.all
	tag      language.Tag
	lang     string   // the tag as a string, for the lang attribute
	dir      string   // ltr or rtl
	header   []string // Content-Language
	colon    string   // what stands between a label and its value in plain text
	groups   [groups]wording
	retrying words
	gaveUp   words
	status   words
	request  words
	support  words
	wait     [units]counted
}

// counted is a sentence with a number in it. It is the same in each format.
type counted struct {
	plural pluralRule
	parts  [numForms]sentence
}

// sentence is cut where the number stands.
type sentence struct {
	before, after string
	numbered      bool
}

func newSentence(s string) sentence {
	before, after, numbered := strings.Cut(s, placeholder)
	return sentence{before, after, numbered}
}

const placeholder = "{n}"

// unit is one of those that a wait is told in.
type unit uint8

const (
	inSeconds unit = iota
	inMinutes
	inHours
	inDays

	units
)

var unitNames = [units]string{"Seconds", "Minutes", "Hours", "Days"}

func (u unit) String() string { return unitNames[u] }

// forms returns the forms of a unit.
func (w *Wait) forms(u unit) *Forms {
	return [units]*Forms{&w.Seconds, &w.Minutes, &w.Hours, &w.Days}[u]
}

// measure says how a person would put a time of at least a second: to the
// second up to two minutes, above in the next unit, rounded up.
func measure(seconds int) (n int, u unit) {
	switch {
	case seconds > 48*3600:
		return (seconds-1)/86400 + 1, inDays
	case seconds > 2*3600:
		return (seconds-1)/3600 + 1, inHours
	case seconds > 120:
		return (seconds-1)/60 + 1, inMinutes
	}
	return seconds, inSeconds
}

// appendWait says when to try again. The sentence can stand in any format: in
// the text of an element, in an attribute in double quotes, in a JSON string.
func (l *locale) appendWait(b []byte, seconds int) []byte {
	n, u := measure(max(seconds, 1))
	c := &l.wait[u]
	s := &c.parts[c.plural(n)]
	b = append(b, s.before...)
	if s.numbered {
		b = append(strconv.AppendInt(b, int64(n), 10), s.after...)
	}
	return b
}

// direction is that of the script of a language.
func direction(tag language.Tag) string {
	script, _ := tag.Script()
	switch script.String() {
	case "Adlm", "Arab", "Aran", "Hebr", "Mand", "Mend", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi":
		return "rtl"
	}
	return "ltr"
}

// colonOf is a colon between words, as the language's typography has it.
func colonOf(base string) string {
	switch base {
	case "fr":
		return "\u00a0: "
	case "ja", "zh", "yue":
		return "："
	}
	return ": "
}
