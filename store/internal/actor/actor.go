package actor

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"lumin-ingest/lumin"
)

// Of returns the signer that a body names, in a normal form. The form does not
// depend on case, surrounding white space, the composition of accents, or the
// notation of an international domain. It is empty if the body names no signer.
func Of(body []byte) string {
	address := norm.NFC.String(strings.ToLower(strings.TrimSpace(lumin.SignerEmail(body))))
	at := strings.LastIndexByte(address, '@')
	if domain, err := idna.Lookup.ToASCII(address[at+1:]); err == nil {
		address = address[:at+1] + domain
	}
	return address
}

// Differ reports whether two bodies with one event key describe two events:
// both name a signer, and the signers differ.
func Differ(first, other []byte) bool {
	a, b := Of(first), Of(other)
	return a != "" && b != "" && a != b
}

// PromotedKey is the event key of an event that was promoted from a conflict of
// the event with the given key. It is derived from that key and the signer, so
// it is the same in every source. For a body without a signer, it uses the hash
// instead.
func PromotedKey(key lumin.EventKey, body []byte) lumin.EventKey {
	if actor := Of(body); actor != "" {
		return key.Derive("actor/" + actor)
	}
	sum := sha256.Sum256(body)
	return key.Derive("body/" + hex.EncodeToString(sum[:]))
}
