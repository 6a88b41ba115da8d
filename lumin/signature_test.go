package lumin_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lumin-ingest/lumin"
)

// Lumin's example delivery, and its two keys with their signatures.
const (
	documentedBody = `{"event": { "event_time": 1694664207595, "event_type": "signature_request_sent" }, "signature_request": { "signature_request_id": "fa5c8a0b0f492d768749333ad6fcc214c111e967", "title": "My first request" } }`

	accountKey       = "my_primary_api_key"
	accountSignature = "3810cb411041efab279d31698b9584372e5ede9d1641fbb354810f16e51be81c"
	appKey           = "your_app_signing_secret"
	appSignature     = "f8b6871e7874b32476a5eb838e0982886f62a9da11e840909a226dea9cf0c92b"
)

// Other keys of a keyring.
const (
	x = "x-x-x-x-x-x-x-x-"
	y = "y-y-y-y-y-y-y-y-"
)

func TestSign(t *testing.T) {
	t.Parallel()
	if len(documentedBody) != 205 {
		t.Fatalf("the documented body has %d bytes, want 205", len(documentedBody))
	}
	if got := lumin.Sign([]byte(documentedBody), accountKey); got != accountSignature {
		t.Errorf("account: %s, want %s", got, accountSignature)
	}
	if got := lumin.Sign([]byte(documentedBody), appKey); got != appSignature {
		t.Errorf("app: %s, want %s", got, appSignature)
	}
	if got := lumin.Sign([]byte(documentedBody+"\n"), accountKey); got == accountSignature {
		t.Error("a trailing newline does not change the signature")
	}
}

// The expected ids were computed with openssl. Ids are stored with events, so
// they must never change.
func TestKeyID(t *testing.T) {
	t.Parallel()
	for secret, want := range map[string]string{accountKey: "308654a9a4aa8c31", appKey: "b699cf63e44ab0d9"} {
		if got := lumin.KeyID(secret); got != want {
			t.Errorf("KeyID(%q) = %s, want %s", secret, got, want)
		}
	}
}

func TestNewKeyring(t *testing.T) {
	t.Parallel()
	t.Run("no secrets", func(t *testing.T) {
		t.Parallel()
		if _, err := lumin.NewKeyring(); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("an empty secret", func(t *testing.T) {
		t.Parallel()
		_, err := lumin.NewKeyring("hunter2-hunter2-hunter2", "", "hunter3-hunter3-hunter3")
		if err == nil {
			t.Fatal("accepted")
		}
		if strings.Contains(err.Error(), "hunter") {
			t.Errorf("the error shows a secret: %v", err)
		}
	})
	t.Run("every other character", func(t *testing.T) {
		t.Parallel()
		var all strings.Builder
		for c := '!'; c <= '~'; c++ {
			if c != '<' && c != '>' {
				all.WriteRune(c)
			}
		}
		newKeyring(t, all.String())
	})
	t.Run("repeated secrets count once", func(t *testing.T) {
		t.Parallel()
		keyring := newKeyring(t, appKey, accountKey, appKey, accountKey)
		want := []string{lumin.KeyID(appKey), lumin.KeyID(accountKey)}
		if got := keyring.KeyIDs(); !slices.Equal(got, want) {
			t.Errorf("KeyIDs() = %v, want %v", got, want)
		}
	})
	t.Run("the caller's slice may change", func(t *testing.T) {
		t.Parallel()
		secrets := []string{accountKey}
		keyring := newKeyring(t, secrets...)
		secrets[0] = "another"
		if _, err := keyring.Verify([]byte(documentedBody), signed(accountSignature)); err != nil {
			t.Error(err)
		}
	})
	t.Run("printing shows no secret", func(t *testing.T) {
		t.Parallel()
		const secret = "hunter2-hunter2-hunter2"
		keyring := newKeyring(t, secret)
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "keyring", keyring)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "keyring", *keyring)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&log, verb+" "+verb+"\n", keyring, *keyring)
		}
		for _, leak := range []string{secret, fmt.Sprintf("%x", secret), strings.Trim(fmt.Sprint([]byte(secret)), "[]")} {
			if strings.Contains(log.String(), leak) {
				t.Errorf("%q is in %s", leak, log.String())
			}
		}
	})
}

func TestInvalidSecrets(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{
		"\uFEFFhunter2", "hunter2\uFEFF", "\xFF\xFEhunter2", "\xEF\xBBhunter2", "hunter\x802", "hünter2", "hunter\u00A02", "hunter\uFFFD2",
		"hunter2\n", " hunter2", "hunter 2", "hunter\t2", "hunter\r2", "hunter2\nhunter3", "hunter\x002", "hunter\x1B2", "hunter\x7F2",
		"<hunter2", "hunter2>", "<html><body>hunter2</body></html>", "hunter2 502 Bad Gateway",
		"hunter2", "hunter2-hunter2",
	} {
		const valid = "hunter3-hunter3-hunter3"
		for _, secrets := range [][]string{{secret}, {valid, secret}, {secret, valid}} {
			if _, err := lumin.NewKeyring(secrets...); err == nil || strings.Contains(err.Error(), "hunter") {
				t.Errorf("%q: %v", secrets, err)
			}
		}
	}
}

func TestVerifyAccepts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, secret, signature string
	}{
		{"the account's key", accountKey, accountSignature},
		{"an app's key", appKey, appSignature},
		{"upper case", accountKey, strings.ToUpper(accountSignature)},
		{"mixed case", accountKey, strings.ToUpper(accountSignature[:32]) + accountSignature[32:]},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// The position of the key in the keyring does not matter.
			for _, secrets := range [][]string{{test.secret}, {test.secret, x, y}, {x, test.secret, y}, {x, y, test.secret}} {
				match, err := newKeyring(t, secrets...).Verify([]byte(documentedBody), signed(test.signature))
				if err != nil {
					t.Fatal(err)
				}
				if want := lumin.KeyID(test.secret); match.KeyID != want {
					t.Errorf("KeyID %q, want %q", match.KeyID, want)
				}
				if got := fmt.Sprintf("%x", match.Signature); got != strings.ToLower(test.signature) {
					t.Errorf("Signature %s, want %s", got, test.signature)
				}
			}
		})
	}
	t.Run("an empty body", func(t *testing.T) {
		t.Parallel()
		if _, err := newKeyring(t, x).Verify(nil, signed(lumin.Sign(nil, x))); err != nil {
			t.Error(err)
		}
	})
	t.Run("header name in any case on the wire", func(t *testing.T) {
		t.Parallel()
		header := http.Header{}
		header.Set("x-signature", accountSignature)
		if _, err := newKeyring(t, accountKey).Verify([]byte(documentedBody), header); err != nil {
			t.Error(err)
		}
	})
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		header http.Header
		want   error
	}{
		{"no header", http.Header{}, lumin.ErrSignatureMissing},
		{"nil header", nil, lumin.ErrSignatureMissing},
		{"another header", http.Header{"X-Signatures": {accountSignature}}, lumin.ErrSignatureMissing},
		{"empty", signed(""), lumin.ErrSignatureMalformed},
		{"63 digits", signed(accountSignature[:63]), lumin.ErrSignatureMalformed},
		{"62 digits", signed(accountSignature[:62]), lumin.ErrSignatureMalformed},
		{"65 digits", signed(accountSignature + "0"), lumin.ErrSignatureMalformed},
		{"66 digits", signed(accountSignature + "00"), lumin.ErrSignatureMalformed},
		{"not a digit", signed("g" + accountSignature[1:]), lumin.ErrSignatureMalformed},
		{"last not a digit", signed(accountSignature[:63] + "g"), lumin.ErrSignatureMalformed},
		{"a prefix", signed("sha256=" + accountSignature), lumin.ErrSignatureMalformed},
		{"a prefix in 64 bytes", signed("sha256=" + accountSignature[7:]), lumin.ErrSignatureMalformed},
		{"a space before", signed(" " + accountSignature), lumin.ErrSignatureMalformed},
		{"a newline behind", signed(accountSignature + "\n"), lumin.ErrSignatureMalformed},
		{"joined values", signed(accountSignature + ", " + accountSignature), lumin.ErrSignatureMalformed},
		{"the right one twice", signed(accountSignature, accountSignature), lumin.ErrSignatureMalformed},
		{"the right one and a wrong one", signed(accountSignature, appSignature), lumin.ErrSignatureMalformed},
		{"the right one and an empty one", signed(accountSignature, ""), lumin.ErrSignatureMalformed},
		{"another key's", signed(appSignature), lumin.ErrSignatureMismatch},
		{"first bit wrong", signed("b" + accountSignature[1:]), lumin.ErrSignatureMismatch},
		{"last bit wrong", signed(accountSignature[:63] + "d"), lumin.ErrSignatureMismatch},
		{"zeros", signed(strings.Repeat("0", 64)), lumin.ErrSignatureMismatch},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, keyring := range []*lumin.Keyring{newKeyring(t, accountKey), newKeyring(t, x, accountKey, y)} {
				match, err := keyring.Verify([]byte(documentedBody), test.header)
				if err != test.want {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if match.KeyID != "" || match.Signature != nil {
					t.Errorf("a match with the error: %v", match)
				}
			}
		})
	}
	t.Run("another body", func(t *testing.T) {
		t.Parallel()
		for _, body := range []string{"", documentedBody + "\n", documentedBody[1:], strings.ToUpper(documentedBody)} {
			if _, err := newKeyring(t, accountKey).Verify([]byte(body), signed(accountSignature)); err != lumin.ErrSignatureMismatch {
				t.Errorf("%q: error %v, want %v", body, err, lumin.ErrSignatureMismatch)
			}
		}
	})
	t.Run("the zero keyring", func(t *testing.T) {
		t.Parallel()
		var keyring lumin.Keyring
		if _, err := keyring.Verify([]byte(documentedBody), signed(lumin.Sign([]byte(documentedBody), ""))); err != lumin.ErrSignatureMismatch {
			t.Errorf("error %v, want %v", err, lumin.ErrSignatureMismatch)
		}
	})
}

// FuzzVerify: a delivery is accepted exactly when an HMAC written out by hand
// says that one of the keys signed it.
func FuzzVerify(f *testing.F) {
	for how := range byte(8) {
		f.Add([]byte(documentedBody), accountKey, appKey, accountSignature, how)
	}
	f.Add([]byte(documentedBody), accountKey, appKey, strings.ToUpper(appSignature), byte(0))
	f.Add([]byte(nil), x, x, "", byte(0))
	f.Add([]byte("x"), x, x+"\x00", "\n", byte(1)) // two secrets that are the same HMAC key
	f.Add([]byte("x"), x, x+"\x80", "", byte(1))
	f.Add([]byte("x"), x, x[1:], "", byte(1)) // one byte too short
	f.Add([]byte("x"), strings.Repeat("long", 40), y, strings.Repeat("0", 64), byte(2))
	f.Fuzz(func(t *testing.T, body []byte, first, second, value string, how byte) {
		keyring, err := lumin.NewKeyring(first, second)
		if (err != nil) != !(handSecret(first) && handSecret(second)) {
			t.Fatalf("NewKeyring: %v", err)
		}
		if err != nil {
			return
		}
		switch how % 8 { // 0 leaves the fuzzer's own value
		case 1:
			value = fmt.Sprintf("%x", handHMAC(first, body))
		case 2:
			value = fmt.Sprintf("%X", handHMAC(second, body))
		case 3:
			value = fmt.Sprintf("%x", handHMAC(value, body))
		case 4:
			value = fmt.Sprintf("%x", handHMAC(first, append(body[:len(body):len(body)], value...)))
		case 5:
			value = fmt.Sprintf("%x", handHMAC(first, body)) + value
		case 6:
			value += fmt.Sprintf("%x", handHMAC(second, body))
		}
		header := signed(value)
		if how%8 == 7 {
			header.Add(lumin.SignatureHeader, fmt.Sprintf("%x", handHMAC(first, body)))
		}

		byFirst := handVerify(header[lumin.SignatureHeader], first, body)
		bySecond := handVerify(header[lumin.SignatureHeader], second, body)
		match, err := keyring.Verify(body, header)
		if (err == nil) != (byFirst || bySecond) {
			t.Fatalf("Verify: %v; by hand: first %t, second %t", err, byFirst, bySecond)
		}
		switch {
		case err == nil:
			if !(byFirst && match.KeyID == lumin.KeyID(first) || bySecond && match.KeyID == lumin.KeyID(second)) {
				t.Errorf("matched %q, which did not sign", match.KeyID)
			}
			if got := fmt.Sprintf("%x", match.Signature); got != strings.ToLower(value) {
				t.Errorf("Signature %s of %s", got, value)
			}
		case !errors.Is(err, lumin.ErrSignatureMalformed) && !errors.Is(err, lumin.ErrSignatureMismatch):
			t.Errorf("Verify: %v", err)
		}
	})
}

// handHMAC is HMAC-SHA256, written out from RFC 2104.
func handHMAC(secret string, message []byte) [32]byte {
	var block [64]byte
	if len(secret) > 64 {
		sum := sha256.Sum256([]byte(secret))
		secret = string(sum[:])
	}
	copy(block[:], secret)
	var inner, outer []byte
	for _, b := range block {
		inner = append(inner, b^0x36)
		outer = append(outer, b^0x5c)
	}
	sum := sha256.Sum256(append(inner, message...))
	return sha256.Sum256(append(outer, sum[:]...))
}

// handSecret checks byte by byte whether s is a valid secret.
func handSecret(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7E || s[i] == '<' || s[i] == '>' {
			return false
		}
	}
	return len(s) >= 16
}

func handVerify(values []string, secret string, body []byte) bool {
	if len(values) != 1 || len(values[0]) != 64 {
		return false
	}
	for i, want := range handHMAC(secret, body) {
		digits := values[0][2*i : 2*i+2]
		got, err := strconv.ParseUint(digits, 16, 8)
		if err != nil || byte(got) != want {
			return false
		}
	}
	return true
}

func BenchmarkVerify(b *testing.B) {
	for _, keys := range []int{1, 2} {
		b.Run(fmt.Sprintf("205 bytes/%d keys", keys), func(b *testing.B) {
			keyring, err := lumin.NewKeyring([]string{accountKey, appKey}[:keys]...)
			if err != nil {
				b.Fatal(err)
			}
			body, header := []byte(documentedBody), signed(accountSignature)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := keyring.Verify(body, header); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("1 MiB/1 keys", func(b *testing.B) {
		keyring, err := lumin.NewKeyring(accountKey)
		if err != nil {
			b.Fatal(err)
		}
		body := []byte(bodyOfSize(1 << 20))
		header := signed(lumin.Sign(body, accountKey))
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := keyring.Verify(body, header); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func newKeyring(t *testing.T, secrets ...string) *lumin.Keyring {
	t.Helper()
	keyring, err := lumin.NewKeyring(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return keyring
}

// signed returns a header with the given X-Signature values.
func signed(values ...string) http.Header {
	return http.Header{"X-Signature": values}
}
