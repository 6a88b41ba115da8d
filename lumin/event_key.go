package lumin

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// EventKey identifies one event. It is a UUID of version 8 (RFC 9562) and is
// the same in every database and process. If two webhooks report one event,
// both get the same key.
//
// It is not the idempotency key for calls to other systems. That key also
// depends on the job type, and on replays that ask for another effect. Job
// types get it from the event that they work on.
//
// Layout of [Envelope.Key]:
//
//	bytes 0–5    event_time, milliseconds since 1970, big endian
//	bytes 6–15   the first ten bytes of SHA-256 over
//	             uint32(len(id)) id uint32(len(type)) type
//	             (lengths in bytes, big endian),
//	             with the version (8) in the upper four bits of byte 6
//	             and the variant (binary 10) in the upper two of byte 8
//
// The time comes first so that an index on keys grows at its right edge. The
// layout never changes, because keys are stored.
type EventKey [16]byte

// Key returns the event's key. It is defined for envelopes from
// [DecodeEnvelope]. For any other EventTime it uses only whole milliseconds,
// and only their lowest 48 bits.
func (e Envelope) Key() EventKey {
	named := make([]byte, 0, 4+maxText+4+maxText)
	named = appendPrefixed(named, e.SignatureRequestID)
	named = appendPrefixed(named, string(e.EventType))
	digest := sha256.Sum256(named)

	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(e.EventTime.UnixMilli()))

	var k EventKey
	copy(k[:6], at[2:])
	copy(k[6:], digest[:])
	return k.version8()
}

// UnrecognizedKey returns the key of a body that [DecodeEnvelope] refuses. It
// is the first sixteen bytes of the body's SHA-256, with version 8 and the
// variant set as in any key. Only identical bodies share a key. Its first bytes
// are not a time.
func UnrecognizedKey(body []byte) EventKey {
	digest := sha256.Sum256(body)
	return EventKey(digest[:16]).version8()
}

// Derive returns a key for a named item that belongs to the event, such as one
// effect of it. Different names give different keys. The key starts with the
// time of k. The first ten bytes of SHA-256 over k and name follow, with
// version and variant as in any key.
func (k EventKey) Derive(name string) EventKey {
	digest := sha256.Sum256(append(k[:], name...))
	copy(k[6:], digest[:])
	return k.version8()
}

// version8 returns k with the version and variant bits of an RFC 9562 UUIDv8.
func (k EventKey) version8() EventKey {
	k[6] = 0x80 | k[6]&0x0f
	k[8] = 0x80 | k[8]&0x3f
	return k
}

// appendPrefixed appends the length of s, then s. With the length, no two
// different pairs of strings produce the same bytes.
func appendPrefixed(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// String returns the canonical form: 36 lower-case characters with hyphens.
func (k EventKey) String() string {
	text, _ := k.MarshalText()
	return string(text)
}

// MarshalText returns the same text as [EventKey.String]. It never fails.
func (k EventKey) MarshalText() ([]byte, error) {
	text := make([]byte, 0, 36)
	text = append(hex.AppendEncode(text, k[0:4]), '-')
	text = append(hex.AppendEncode(text, k[4:6]), '-')
	text = append(hex.AppendEncode(text, k[6:8]), '-')
	text = append(hex.AppendEncode(text, k[8:10]), '-')
	return hex.AppendEncode(text, k[10:16]), nil
}

// UnmarshalText accepts the same text as [ParseEventKey]. On failure k is
// unchanged.
func (k *EventKey) UnmarshalText(text []byte) error {
	parsed, err := ParseEventKey(string(text))
	if err == nil {
		*k = parsed
	}
	return err
}

// ParseEventKey parses the hyphenated form of a UUID, in upper or lower case.
// It accepts any version, so that every EventKey value survives the round trip
// through its text. It does not check that such an event exists.
func ParseEventKey(s string) (EventKey, error) {
	errNotKey := errors.New("not an event key: give a UUID such as 018a8ca2-3c4d-8e5f-a012-3456789abcde")
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return EventKey{}, errNotKey
	}
	var k EventKey
	digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(k[:], []byte(digits)); err != nil {
		return EventKey{}, errNotKey
	}
	return k, nil
}
