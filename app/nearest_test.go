package app

import (
	"fmt"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"approved", "canceled", "cancel_failed", "signed", "book_invoice", "a1b2c3d4e5f6"}
	for name, want := range map[string]string{
		"aproved":      "[approved]",
		"APPROVED":     "[approved]",
		"cancelled":    "[canceled]",
		"cancel":       "[canceled cancel_failed]", // the beginning of both
		"singed":       "[signed]",
		"book_invoces": "[book_invoice]",
		"a1b2c3":       "[a1b2c3d4e5f6]",
		"something":    "[]",
		"a":            "[]",
		"":             "[]",
		"\x00\xff":     "[]",
	} {
		if got := fmt.Sprint(nearest(name, known)); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3}, {"é", "e", 1}} {
		if got := editDistance(c.a, c.b); got != c.want || editDistance(c.b, c.a) != got {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	many := strings.Fields(strings.Repeat("some_kind ", 50))
	for _, c := range []struct {
		name, want string
		known      []string
	}{
		{"bok", "did you mean book? known are: book, mail", []string{"book", "mail"}},
		{"bok", "only mail is known", []string{"mail"}},
		{"x", "some that are known: some_kind" + strings.Repeat(", some_kind", 11), many},
		{"evi\x1bl", "did you mean evi\uFFFD[l? only evi\uFFFD[l is known", []string{"evi\x1b[l"}},
	} {
		if got := didYouMean(c.name, c.known); got != c.want {
			t.Errorf("%q of %q: %q, want %q", c.name, c.known, got, c.want)
		}
	}
}
