package access_test

import (
	"strings"
	"testing"

	"lumin-ingest/admin/access"
)

func TestTokenLines(t *testing.T) {
	t.Parallel()
	secret, ann := access.NewToken("ann@example.com", access.Operate)
	_, bob := access.NewToken("bob", access.Read)
	if !strings.HasPrefix(secret, "lumin_") || len(secret) != len("lumin_")+43 || strings.Contains(ann.Line(), secret) {
		t.Errorf("token %s, line %s", secret, ann.Line())
	}
	tokens, err := access.ParseTokens("# people\r\n\n" + ann.Line() + "\r\n  " + strings.ReplaceAll(bob.Line(), " ", "\t ") + "  \n")
	if err != nil || len(tokens) != 2 || tokens[0] != ann || tokens[1] != bob {
		t.Errorf("%v, %v", tokens, err)
	}
	if tokens, err := access.ParseTokens("\n# none\n"); err != nil || len(tokens) != 0 {
		t.Errorf("%v, %v", tokens, err)
	}
	hash := strings.Fields(ann.Line())[2]
	for line, want := range map[string]string{
		secret:                             "line 1: 1 words instead of a name, a role and a hash",
		"ann operate " + secret:            "line 1: the third word is not sha256: and 64 hex digits",
		"ann " + secret + " " + hash:       "line 1: the second word is not a role: give read, operate or erase",
		"ann admin " + hash:                "line 1: the second word is not a role: give read, operate or erase",
		"ann operate " + hash[:60]:         "line 1: the third word is not sha256: and 64 hex digits",
		"ann operate " + hash + "00":       "line 1: the third word is not sha256: and 64 hex digits",
		"ann operate " + hash[7:]:          "line 1: the third word is not sha256: and 64 hex digits",
		"a/b operate " + hash:              "line 1: a name has 1 to 100",
		ann.Line() + "\nann read " + hash:  "line 2: an earlier line has the same hash",
		bob.Line() + "\nbob read " + hash:  "line 2: an earlier line has the same name",
		"ann operate " + hash + " comment": "line 1: 4 words",
	} {
		tokens, err := access.ParseTokens(line)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), secret) || tokens != nil {
			t.Errorf("%q: %v, %v, want %s", line, tokens, err, want)
		}
	}
}

func TestRoleNames(t *testing.T) {
	t.Parallel()
	for _, role := range []access.Role{access.Read, access.Operate, access.Erase} {
		if parsed, err := access.ParseRole(role.String()); err != nil || parsed != role || !role.May(access.Read) {
			t.Errorf("%s: %v, %v", role, parsed, err)
		}
	}
	if _, err := access.ParseRole("none"); err == nil || access.Role(0).May(access.Read) {
		t.Error("the zero role may do something")
	}
}

// FuzzParseTokens checks that no text crashes the parser, and that what it accepts is
// what it prints.
func FuzzParseTokens(f *testing.F) {
	_, token := access.NewToken("ann", access.Read)
	f.Add(token.Line())
	f.Add("# x\n" + token.Line() + "\nbob erase sha256:" + strings.Repeat("0f", 32))
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := access.ParseTokens(text)
		if err != nil {
			return
		}
		var lines []string
		for _, token := range tokens {
			lines = append(lines, token.Line())
		}
		again, err := access.ParseTokens(strings.Join(lines, "\n"))
		if err != nil || len(again) != len(tokens) {
			t.Errorf("%q is read as %v, which is read as %v, %v", text, tokens, again, err)
		}
	})
}
