package lumin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// SignatureHeader is the header that carries a delivery's signature.
const SignatureHeader = "X-Signature"

// Why [Keyring.Verify] refuses a delivery.
var (
	// ErrSignatureMissing means that there is no X-Signature header.
	ErrSignatureMissing = errors.New("X-Signature header is missing")
	// ErrSignatureMalformed means that X-Signature is not 64 hexadecimal digits,
	// or is there more than once.
	ErrSignatureMalformed = errors.New("X-Signature header is not a single value of 64 hexadecimal digits")
	// ErrSignatureMismatch means that none of the keys made this signature over
	// this body.
	ErrSignatureMismatch = errors.New("X-Signature header does not match the body under any key")
)

// Sign returns the X-Signature that Lumin sends with body: HMAC-SHA256 in
// lower-case hexadecimal. The secret is the workspace's primary API key for the
// account webhook, the app's signing secret for an app webhook. Every byte
// counts: a trailing newline or JSON written anew has another signature.
func Sign(body []byte, secret string) string {
	return hex.EncodeToString(hmacSHA256([]byte(secret), body))
}

// Match says which key of a [Keyring] a delivery was signed with.
type Match struct {
	KeyID     string // the [KeyID] of the secret
	Signature []byte // the 32 bytes of the signature, decoded
}

// Keyring holds the secrets that are valid for one webhook. There are several
// while a key is being rotated. It never changes, so any number of goroutines
// may use it at once. Printing one in whatever way does not show its secrets.
//
// The zero Keyring holds no secrets and matches nothing.
type Keyring struct {
	keys []key
}

// A key keeps its secret inside a function, where no print verb can reach it.
type key struct {
	id   string
	sign func(body []byte) []byte
}

// NewKeyring returns a keyring of the given secrets. Repeated secrets count
// once. It refuses an empty secret, with which anybody could sign; a keyring
// without secrets, which could only ever refuse; and what cannot be a secret of
// Lumin's: anything but printable ASCII characters without space, < and >. Its
// errors do not show secrets.
func NewKeyring(secrets ...string) (*Keyring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("keyring: no secrets")
	}
	k := &Keyring{}
	for i, secret := range secrets {
		if err := checkSecret(secret); err != nil {
			return nil, fmt.Errorf("keyring: secret %d of %d %w", i+1, len(secrets), err)
		}
		if slices.Contains(secrets[:i], secret) {
			continue
		}
		k.keys = append(k.keys, key{
			id:   KeyID(secret),
			sign: func(body []byte) []byte { return hmacSHA256([]byte(secret), body) },
		})
	}
	return k, nil
}

// checkSecret refuses what Lumin gives to nobody: a byte order mark, a web page
// that reports an error, a sentence, noise. Were it taken for a secret, the right
// one would have gone for it.
func checkSecret(secret string) error {
	const byteOrderMark = "\uFEFF"
	switch {
	case secret == "":
		return errors.New("is empty")
	case strings.Contains(secret, byteOrderMark):
		return errors.New("has a byte order mark")
	case strings.ContainsFunc(secret, func(r rune) bool { return r > '~' }): // also of invalid UTF-8
		return errors.New("has something other than ASCII characters in it")
	case strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' }):
		return errors.New("has white space or a control character in it")
	case strings.ContainsAny(secret, "<>"):
		return errors.New("has < or > in it, as a web page has")
	}
	return nil
}

// Verify reports which key signed body, or fails with [ErrSignatureMissing],
// [ErrSignatureMalformed] or [ErrSignatureMismatch]. The header must hold exactly
// one X-Signature of exactly 64 hexadecimal digits, in upper or lower case.
//
// The time it takes depends on the length of the body and the number of keys,
// and tells nothing about how nearly a signature matched or which key it fits.
func (k *Keyring) Verify(body []byte, header http.Header) (Match, error) {
	values := header.Values(SignatureHeader)
	switch {
	case len(values) == 0:
		return Match{}, ErrSignatureMissing
	case len(values) > 1 || len(values[0]) != hex.EncodedLen(sha256.Size):
		return Match{}, ErrSignatureMalformed
	}
	signature, err := hex.DecodeString(values[0])
	if err != nil { // not wrapped: it quotes the header
		return Match{}, ErrSignatureMalformed
	}

	matched := -1
	for i, key := range k.keys { // to the end, whichever matches
		if hmac.Equal(key.sign(body), signature) {
			matched = i
		}
	}
	if matched < 0 {
		return Match{}, ErrSignatureMismatch
	}
	return Match{KeyID: k.keys[matched].id, Signature: signature}, nil
}

// KeyIDs returns the [KeyID] of each secret, in the order that they were given.
func (k *Keyring) KeyIDs() []string {
	ids := make([]string, len(k.keys))
	for i, key := range k.keys {
		ids[i] = key.id
	}
	return ids
}

// keyIDLabel is what a secret signs to make its KeyID. Ids are stored beside
// events, so it never changes.
const keyIDLabel = "lumin-ingest key id"

// KeyID returns a fingerprint of secret, 16 hexadecimal digits, that may be
// stored and logged to tell keys apart. It gives away no more about the secret
// than any signature made with it, and is not a signature of anything Lumin sends.
func KeyID(secret string) string {
	return hex.EncodeToString(hmacSHA256([]byte(secret), []byte(keyIDLabel))[:8])
}

func hmacSHA256(secret, message []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(message)
	return mac.Sum(nil)
}
