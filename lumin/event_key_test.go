package lumin_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"pgregory.net/rapid"
)

// The vectors were computed with Python's hashlib and uuid from the documented
// layout. Keys are stored, so if a vector fails, the code is wrong.
func TestKeyVectors(t *testing.T) {
	t.Parallel()
	const id = "fa5c8a0b0f492d768749333ad6fcc214c111e967"
	for _, test := range []struct {
		name      string
		id        string
		eventType lumin.EventType
		ms        int64
		want      string
	}{
		{"documented body", id, "signature_request_sent", 1694664207595, "018a91db-aceb-8f4a-a851-17e615d5c5d9"},
		{"another type in the same millisecond", id, lumin.SignatureRequestSigned, 1694664207595, "018a91db-aceb-86c7-b952-0b273149f28f"},
		{"shortest", "a", "b", 1, "00000000-0001-8627-9ef0-f5d0eb9dd9e0"},
		{"longest and latest", strings.Repeat("x", 255), "é😀", 253402300799999, "e677d21f-dbff-8953-a8d1-19fd096dcfd0"},
		{"ab and c", "ab", "c", 1694664207595, "018a91db-aceb-8293-9f90-3016e5bb29b1"},
		{"a and bc", "a", "bc", 1694664207595, "018a91db-aceb-8534-8e16-ac9c8b36823f"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := lumin.Envelope{SignatureRequestID: test.id, EventType: test.eventType, EventTime: time.UnixMilli(test.ms)}
			if got := e.Key().String(); got != test.want {
				t.Errorf("Key() = %s, want %s", got, test.want)
			}
		})
	}
}

func TestUnrecognizedKeyVectors(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":         "e3b0c442-98fc-8c14-9afb-f4c8996fb924",
		"not JSON": "62b8125a-6f6d-824e-8533-45b5fcd58ca3",
	} {
		if got := lumin.UnrecognizedKey([]byte(body)).String(); got != want {
			t.Errorf("UnrecognizedKey(%q) = %s, want %s", body, got, want)
		}
	}
}

// The key depends on each part of the identity. It is always a UUIDv8 that
// starts with the time.
func TestKeyProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := envelopes.Draw(t, "a"), envelopes.Draw(t, "b")
		keyA, keyB := a.Key(), b.Key()
		if (a == b) != (keyA == keyB) {
			t.Errorf("%v has key %s, %v has key %s", a, keyA, b, keyB)
		}
		if a.EventTime.Before(b.EventTime) && keyA.String() >= keyB.String() {
			t.Errorf("an earlier event has the later key: %s, %s", keyA, keyB)
		}
		for _, key := range []lumin.EventKey{keyA, lumin.UnrecognizedKey([]byte(a.SignatureRequestID))} {
			if text := key.String(); text[14] != '8' || !strings.ContainsRune("89ab", rune(text[19])) {
				t.Errorf("%s is not a UUIDv8", key)
			}
		}
	})
}

// envelopes draws from few values, so that two draws often have some in common.
var envelopes = rapid.Custom(func(t *rapid.T) lumin.Envelope {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab\x01é")), 1, 3, -1)
	return lumin.Envelope{
		SignatureRequestID: text.Draw(t, "id"),
		EventType:          lumin.EventType(text.Draw(t, "type")),
		EventTime:          time.UnixMilli(rapid.OneOf(rapid.Int64Range(1, 3), rapid.Int64Range(1, 253402300799999)).Draw(t, "time")).UTC(),
	}
})

func TestParseEventKey(t *testing.T) {
	t.Parallel()
	const text = "018a91db-aceb-8f4a-a851-17e615d5c5d9"
	want := lumin.EventKey{0x01, 0x8a, 0x91, 0xdb, 0xac, 0xeb, 0x8f, 0x4a, 0xa8, 0x51, 0x17, 0xe6, 0x15, 0xd5, 0xc5, 0xd9}
	for _, s := range []string{text, strings.ToUpper(text)} {
		got, err := lumin.ParseEventKey(s)
		if err != nil || got != want {
			t.Errorf("ParseEventKey(%q) = %v, %v", s, got, err)
		}
		if got.String() != text {
			t.Errorf("String() = %q, want %q", got, text)
		}
	}
	for name, s := range map[string]string{
		"empty":             "",
		"no hyphens":        strings.ReplaceAll(text, "-", ""),
		"too short":         text[:35],
		"too long":          text + "0",
		"braces":            "{" + text + "}",
		"urn":               "urn:uuid:" + text,
		"not a digit":       "g" + text[1:],
		"last not a digit":  text[:35] + "g",
		"hyphen misplaced":  "018a91dba-ceb-8f4a-a851-17e615d5c5d9",
		"hyphen for digit":  "018a91db-aceb-8f4a-a851--7e615d5c5d9",
		"digit for hyphen":  "018a91db0aceb-8f4a-a851-17e615d5c5d9",
		"digit for hyphen2": "018a91db-aceb08f4a-a851-17e615d5c5d9",
		"digit for hyphen3": "018a91db-aceb-8f4a0a851-17e615d5c5d9",
		"digit for hyphen4": "018a91db-aceb-8f4a-a851017e615d5c5d9",
		"space before":      " " + text[:35],
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			t.Parallel()
			if key, err := lumin.ParseEventKey(s); err == nil || key != (lumin.EventKey{}) {
				t.Errorf("ParseEventKey(%q) = %v, %v", s, key, err)
			}
			key := want
			if err := key.UnmarshalText([]byte(s)); err == nil || key != want {
				t.Errorf("UnmarshalText(%q): %v, key %v", s, err, key)
			}
		})
	}
}

func TestEventKeyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := lumin.EventKey(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
		encoded, err := json.Marshal(map[lumin.EventKey]lumin.EventKey{key: key})
		if err != nil {
			t.Fatal(err)
		}
		var decoded map[lumin.EventKey]lumin.EventKey
		if err := json.Unmarshal(encoded, &decoded); err != nil {
			t.Fatal(err)
		}
		if got, ok := decoded[key]; !ok || got != key {
			t.Errorf("%s came back as %v", key, decoded)
		}
	})
}
