package store

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"lumin-ingest/lumin"
)

// actorOf returns who acted according to a body, in one spelling: upper and lower
// case, white space around it, composed and decomposed accents, and the two forms
// of an international domain make no difference. Empty: the body does not say.
func actorOf(body []byte) string {
	address := norm.NFC.String(strings.ToLower(strings.TrimSpace(lumin.SignerEmail(body))))
	at := strings.LastIndexByte(address, '@')
	if domain, err := idna.Lookup.ToASCII(address[at+1:]); err == nil {
		address = address[:at+1] + domain
	}
	return address
}

// anotherActor reports whether two bodies with one event key tell of two events:
// both name an actor, and different ones.
func anotherActor(first, other []byte) bool {
	a, b := actorOf(first), actorOf(other)
	return a != "" && b != "" && a != b
}

// promotedKey is the key of an event that was a conflict of another one, whose key
// is given: derived from that key and the actor, so that it is the same in every
// source. A body that names nobody is told apart by its hash.
func promotedKey(key lumin.EventKey, body []byte) lumin.EventKey {
	if actor := actorOf(body); actor != "" {
		return key.Derive("actor/" + actor)
	}
	sum := sha256.Sum256(body)
	return key.Derive("body/" + hex.EncodeToString(sum[:]))
}
