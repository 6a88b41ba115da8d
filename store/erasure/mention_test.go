package erasure_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"

	"lumin-ingest/store/erasure"
)

func TestMention(t *testing.T) {
	t.Parallel()
	const word = "Bob.Jones+x@Example.com"
	for text, want := range map[string]bool{
		"":                              false,
		word:                            true,
		"bob.jones+x@example.com":       true,
		"<BOB.JONES+X@EXAMPLE.COM>":     true,
		"see bob.jones+x@example.com.":  true,
		"bob.jones+x@example.com, etc.": true,
		"mailto:bob.jones+x@example.com?subject=x":              true,
		`{"email":"bob\u002ejones\u002Bx\u0040example.com"}`:    true,
		`\/bob.jones+x@example.com\n`:                           true,
		`\nbob.jones+x@example.com`:                             true,
		"?signer=bob.jones%2Bx%40example.com&x=1":               true,
		`?signer=bob.jones%2bx\u002540example.com`:              true,
		"bob.jones+x@example.co":                                false,
		"bob.jones+x@example.company":                           false,
		"bob.jones+x@example.com.au":                            false,
		"bob.jones+x@example.com-x":                             false,
		"notbob.jones+x@example.com":                            false,
		"jim.bob.jones+x@example.com":                           false,
		"_bob.jones+x@example.com":                              false,
		"äbob.jones+x@example.com":                              false,
		"notbob.jones+x@example.com, bob.jones+x@example.com":   true,
		`bob.jones+x@example.com\`:                              true,
		`\u`:                                                    false,
		"%":                                                     false,
		"100% of bob.jones+x@example.com":                       true,
		"\xffbob.jones+x@example.com\xff":                       true,
		"bob.jones+x@example.combob.jones+x@example.com":        false,
		"bob.jones+x@example.com/bob.jones+x@example.com\u2029": true,
	} {
		if got := erasure.Mentions(word, []byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// An address is found with composed or decomposed accents, with its domain in
// Unicode or in ASCII, and inside a link.
func TestMentionOfAddress(t *testing.T) {
	t.Parallel()
	const (
		composed   = "zo\u00eb@m\u00fcller.example"
		decomposed = "zoe\u0308@mu\u0308ller.example"
		ascii      = "zo\u00eb@xn--mller-kva.example"
	)
	texts := []string{
		composed, decomposed, ascii, "ZOE\u0308@XN--MLLER-KVA.EXAMPLE", "zoe\u0308@xn--mller-kva.example", "<mailto:" + decomposed + ">",
		`{"email":"zo\u00eb@m\u00fcller.example"}`, `{"email":"zoe\u0308@mu\u0308ller.example"}`,
		"mailto:zo%C3%AB%40m%C3%BCller.example", "mailto:zoe%CC%88@mu%CC%88ller.example?subject=x", "zo%C3%AB%40xn--mller-kva.example",
	}
	for _, email := range []string{
		composed, decomposed, ascii, "  " + composed + " ", "Mailto:" + composed, "mailto:zo%C3%AB@xn--mller-kva.example?subject=x", "ZO\u00cb@M\u00dcLLER.example",
	} {
		if err := (erasure.Subject{Email: email}).Validate(); err != nil {
			t.Errorf("%q: %v", email, err)
			continue
		}
		for _, text := range texts {
			if !erasure.MentionsAddress(email, []byte(text)) {
				t.Errorf("%q is not found in %q", email, text)
			}
		}
		for _, text := range []string{"zoe@muller.example", "x" + composed, ascii + "x", "zo\u00eb@m\u00fcller.example.org", "zoe@m\u00fcller.example"} {
			if erasure.MentionsAddress(email, []byte(text)) {
				t.Errorf("%q is found in %q", email, text)
			}
		}
	}
	for _, email := range []string{"mailto:", "mailto:x", "mailto:?to=a@b.c", "a@b c"} {
		if err := (erasure.Subject{Email: email}).Validate(); err == nil {
			t.Errorf("%q is an address", email)
		}
	}
	if !erasure.MentionsAddress("a_b@under_score.example", []byte("A_B@UNDER_SCORE.EXAMPLE")) {
		t.Error("a domain that IDNA refuses is not found as it is")
	}
}

// A word is found with any of its characters escaped as in JSON.
func TestMentionEscaped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z0-9äß😀]{1,8}@[a-z0-9é]{1,8}\.[a-z]{2,3}`).Draw(t, "word")
		escape := rapid.SliceOfN(rapid.Bool(), len(word), len(word)).Draw(t, "escaped")
		var text strings.Builder
		for i, r := range []rune(strings.ToUpper(word)) {
			if !escape[i] {
				text.WriteRune(r)
				continue
			}
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&text, `\u%04x`, unit)
			}
		}
		if strings.ToLower(strings.ToUpper(word)) != word {
			t.Skip("upper case is another word: ß")
		}
		if body := `{"a":"` + text.String() + `"}`; !erasure.Mentions(word, []byte(body)) {
			t.Fatalf("%s is not found in %s", word, body)
		}
	})
}

// No text causes a panic, and a word between spaces is found.
func FuzzMention(f *testing.F) {
	f.Add("a@b.c", []byte(`\u0041%40\\u`))
	f.Fuzz(func(t *testing.T, word string, text []byte) {
		if found := erasure.Mentions(word, text); found && word == "" {
			t.Errorf("nothing is found in %q", text)
		}
		plain := strings.ToLower(fmt.Sprintf("w%d@example.com", rand.IntN(1000)))
		if strings.HasSuffix(string(text), `\`) {
			return // escapes the space
		}
		if !erasure.Mentions(plain, append(append([]byte{}, text...), " "+plain+" "...)) {
			t.Errorf("%q is not found behind %q", plain, text)
		}
	})
}
