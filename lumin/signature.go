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

// Reasons why [Keyring.Verify] refuses a delivery.
var (
	// ErrSignatureMissing means that there is no X-Signature header.
	ErrSignatureMissing = errors.New("X-Signature header is missing")
	// ErrSignatureMalformed means that X-Signature is not 64 hexadecimal
	// digits, or appears more than once.
	ErrSignatureMalformed = errors.New("X-Signature header is not a single value of 64 hexadecimal digits")
	// ErrSignatureMismatch means that no key of the keyring gives this
	// signature for this body.
	ErrSignatureMismatch = errors.New("X-Signature header does not match the body under any key")
)

// Sign returns the X-Signature that Lumin sends with body: its HMAC-SHA256 in
// lower-case hexadecimal. The secret of the account webhook is the workspace's
// primary API key. The secret of an app webhook is the app's signing secret.
// Every byte counts: a trailing newline or reformatted JSON changes the
// signature.
func Sign(body []byte, secret string) string {
	return hex.EncodeToString(hmacSHA256([]byte(secret), body))
}

// Match identifies the key of a [Keyring] that signed a delivery.
type Match struct {
	KeyID     string // the [KeyID] of the secret
	Signature []byte // the 32 bytes of the signature, decoded
}

// Keyring holds the secrets that are valid for one webhook. There are several
// while a key is being rotated. A Keyring never changes, so it is safe for
// concurrent use. No way of printing it shows its secrets.
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

// NewKeyring returns a keyring with the given secrets. Repeated secrets count
// once. It fails if there are no secrets, because such a keyring would refuse
// every delivery, and if [CheckSecret] refuses one.
func NewKeyring(secrets ...string) (*Keyring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("keyring: no secrets")
	}
	k := &Keyring{}
	for i, secret := range secrets {
		if err := CheckSecret(secret); err != nil {
			return nil, fmt.Errorf("keyring: secret %d of %d %w", i+1, len(secrets), err)
		}
		if !slices.Contains(secrets[:i], secret) {
			k.add(secret)
		}
	}
	return k, nil
}

func (k *Keyring) add(secret string) {
	k.keys = append(k.keys, key{
		id:   KeyID(secret),
		sign: func(body []byte) []byte { return hmacSHA256([]byte(secret), body) },
	})
}

// minSecret is the length of the shortest secret, in bytes.
const minSecret = 16

// CheckSecret returns an error if secret cannot sign deliveries:
//
//   - It is empty, or has fewer than 16 bytes. Anyone who has one signed
//     delivery can find a short secret by trying.
//   - It contains a space, <, >, or a character outside printable ASCII. Lumin
//     issues no such secret, so it is something else, such as an HTML error
//     page. With it, every delivery would fail verification.
//
// The error does not show the secret. Its text continues "the secret ...".
func CheckSecret(secret string) error {
	const byteOrderMark = "\uFEFF"
	switch {
	case secret == "":
		return errors.New("is empty")
	case strings.Contains(secret, byteOrderMark):
		return errors.New("contains a byte order mark")
	case strings.ContainsFunc(secret, func(r rune) bool { return r > '~' }): // invalid UTF-8 decodes to U+FFFD
		return errors.New("contains a character that is not printable ASCII")
	case strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' }):
		return errors.New("contains white space or a control character")
	case strings.ContainsAny(secret, "<>"):
		return errors.New("contains < or >, like an HTML page")
	case len(secret) < minSecret:
		return fmt.Errorf("has fewer than %d bytes, so it could be guessed", minSecret)
	}
	return nil
}

// Verify reports which key signed body, or fails with [ErrSignatureMissing],
// [ErrSignatureMalformed] or [ErrSignatureMismatch]. The header must hold
// exactly one X-Signature of exactly 64 hexadecimal digits, in upper or lower
// case.
//
// Its duration depends on the length of the body and the number of keys. It
// reveals neither how close a signature came nor which key matched.
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
	for i, key := range k.keys { // no early exit: the duration must not reveal the matching key
		if hmac.Equal(key.sign(body), signature) {
			matched = i
		}
	}
	if matched < 0 {
		return Match{}, ErrSignatureMismatch
	}
	return Match{KeyID: k.keys[matched].id, Signature: signature}, nil
}

// KeyIDs returns the [KeyID] of each secret, in the order given to NewKeyring.
func (k *Keyring) KeyIDs() []string {
	ids := make([]string, len(k.keys))
	for i, key := range k.keys {
		ids[i] = key.id
	}
	return ids
}

// keyIDLabel is the text that a secret signs to produce its KeyID. It never
// changes, because ids are stored with events.
const keyIDLabel = "lumin-ingest key id"

// KeyID returns a fingerprint of secret, 16 hexadecimal digits. It
// distinguishes keys and may be stored and logged. It reveals no more about the
// secret than any signature made with it. It is not a signature of anything
// that Lumin sends.
func KeyID(secret string) string {
	return hex.EncodeToString(hmacSHA256([]byte(secret), []byte(keyIDLabel))[:8])
}

func hmacSHA256(secret, message []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(message)
	return mac.Sum(nil)
}
