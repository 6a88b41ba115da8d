package servicelog

import (
	"log/slog"
	"regexp"
	"strings"
)

// cause identifies a kind of failure, as name=value pairs in the order of the
// record.
type cause []string

// statesCause names the attributes that state a cause. Their values are error
// texts with varying parts. codesCause names those that state a cause by a
// code, which is compared unchanged: it may be a number. placesCause names the
// attributes that distinguish equal causes in different places.
const (
	statesCause = " error err reason panic "
	codesCause  = " code "
	placesCause = " kind job_kind source tried queue "
)

// maxCauseText bounds one part of a key. The beginning of an error text names
// its origin.
const maxCauseText = 512

func (c cause) with(a slog.Attr) cause {
	name := " " + a.Key + " "
	switch {
	case a.Value.Kind() == slog.KindGroup:
		for _, member := range a.Value.Group() {
			c = c.with(member)
		}
	case strings.Contains(statesCause, name):
		c = append(c, "!"+a.Key+"="+constant(a.Value.Resolve().String()))
	case strings.Contains(codesCause, name):
		c = append(c, "!"+a.Key+"="+bounded(a.Value.Resolve().String()))
	case strings.Contains(placesCause, name):
		c = append(c, a.Key+"="+bounded(a.Value.Resolve().String()))
	}
	return c
}

// stated reports whether any part states a cause, not only a place.
func (c cause) stated() bool {
	for _, part := range c {
		if part[0] == '!' {
			return true
		}
	}
	return false
}

func (c cause) key(r slog.Record) string {
	return r.Level.String() + "\x00" + bounded(r.Message) + "\x00" + strings.Join(c, "\x00")
}

// varying finds words with a digit: numbers, ids, ports, addresses. Its first
// branch captures codes with the word before them, because codes distinguish
// causes.
var varying = regexp.MustCompile(`(?i)(\b(?:sqlstate|status|code|answered|http)\W{1,3}\w+)|[\w.:%\[\]-]*\d[\w.:%\[\]-]*`)

// constant replaces the parts of a text that vary between failures of one
// cause.
func constant(text string) string { return varying.ReplaceAllString(bounded(text), "$1*") }

func bounded(text string) string {
	if len(text) > maxCauseText {
		return text[:maxCauseText]
	}
	return text
}
