package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Token is a token as it is configured: its hash, never itself.
//
// The hash is a plain SHA-256. Slow hashes protect passwords that can be guessed; a
// token has 256 random bits, which cannot.
type Token struct {
	Name string // who or what uses it; in the log and in the audit log
	Role Role
	Hash [sha256.Size]byte
}

// tokenPrefix lets secret scanners and people recognize a token.
const tokenPrefix = "lumin_"

// NewToken returns a new random token, and how to configure it.
func NewToken(name string, role Role) (secret string, t Token) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: see its documentation
	secret = tokenPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	return secret, Token{name, role, sha256.Sum256([]byte(secret))}
}

// Line returns the token as [ParseTokens] reads it.
func (t Token) Line() string {
	return t.Name + " " + t.Role.String() + " sha256:" + hex.EncodeToString(t.Hash[:])
}

// name is a pattern without spaces, so that a line has three words. An e-mail
// address is a name too.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$`)

// CheckName returns the reason why a token cannot have this name.
func CheckName(text string) error {
	if !name.MatchString(text) {
		return errors.New("a name has 1 to 100 letters, digits and characters out of ._@+-, and begins with a letter or a digit")
	}
	return nil
}

// ParseTokens reads lines such as "ann operate sha256:9f86...". Empty lines and
// lines that begin with # are skipped. Errors name the line and do not quote it,
// because it may hold a token.
func ParseTokens(text string) (tokens []Token, err error) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		t, err := parseToken(line)
		for _, other := range tokens {
			switch {
			case err != nil:
			case other.Name == t.Name:
				err = errors.New("an earlier line has the same name")
			case other.Hash == t.Hash:
				err = errors.New("an earlier line has the same hash")
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

func parseToken(line string) (t Token, err error) {
	words := strings.Fields(line)
	if len(words) != 3 {
		return t, fmt.Errorf("%d words instead of a name, a role and a hash", len(words))
	}
	if err := CheckName(words[0]); err != nil {
		return t, err
	}
	t.Name = words[0]
	if t.Role, err = ParseRole(words[1]); err != nil {
		return t, errors.New("the second word is not a role: give read, operate or erase") // it may be a token
	}
	digits, found := strings.CutPrefix(words[2], "sha256:")
	hash, err := hex.DecodeString(digits)
	if !found || err != nil || len(hash) != len(t.Hash) {
		return t, errors.New("the third word is not sha256: and 64 hex digits")
	}
	t.Hash = [sha256.Size]byte(hash)
	return t, nil
}

// find returns the token with this secret. It takes the same time for every
// secret.
func find(tokens []Token, secret string) (found Token, ok bool) {
	hash := sha256.Sum256([]byte(secret))
	for _, t := range tokens {
		if subtle.ConstantTimeCompare(t.Hash[:], hash[:]) == 1 {
			found, ok = t, true
		}
	}
	return found, ok
}
