package lumin_test

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"lumin-ingest/lumin"
)

// The vectors for HMAC-SHA256 in RFC 4231 (section 4) and RFC 4868 (section
// 2.7.2.1). Vector 5 of RFC 4231 has a truncated output: see
// TestVerifyTruncatedVector.
var rfcVectors = []struct{ name, key, message, tag string }{
	{"RFC 4231 1", strings.Repeat("\x0b", 20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	{"RFC 4231 2", "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	{"RFC 4231 3", strings.Repeat("\xaa", 20), strings.Repeat("\xdd", 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
	{"RFC 4231 4", counting(25), strings.Repeat("\xcd", 50), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
	{"RFC 4231 6", strings.Repeat("\xaa", 131), "Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	{"RFC 4231 7", strings.Repeat("\xaa", 131), "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.", "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
	{"RFC 4868 1", strings.Repeat("\x0b", 32), "Hi There", "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7"},
	{"RFC 4868 2", strings.Repeat("Jefe", 8), "what do ya want for nothing?", "167f928588c5cc2eef8e3093caa0e87c9ff566a14794aa61648d81621a2a40c6"},
	{"RFC 4868 3", strings.Repeat("\xaa", 32), strings.Repeat("\xdd", 50), "cdcb1220d1ecccea91e53aba3092f962e549fe6ce9ed7fdc43191fbde45c30b0"},
	{"RFC 4868 4", counting(32), strings.Repeat("\xcd", 50), "372efcf9b40b35c2115b1346903d2ef42fced46f0846e7257bb156d3d7b30d3f"},
}

// counting returns the bytes 1 to n.
func counting(n byte) string {
	var all []byte
	for b := range n {
		all = append(all, b+1)
	}
	return string(all)
}

func TestVerifyVectors(t *testing.T) {
	t.Parallel()
	for _, vector := range rfcVectors {
		keyring, body := lumin.AnyKeyring(vector.key), []byte(vector.message)
		match, err := keyring.Verify(body, signed(vector.tag))
		if err != nil || match.KeyID != lumin.KeyID(vector.key) || hex.EncodeToString(match.Signature) != vector.tag {
			t.Errorf("%s: %v, %v", vector.name, match, err)
		}
		if got := lumin.Sign(body, vector.key); got != vector.tag {
			t.Errorf("%s: Sign returns %s", vector.name, got)
		}
		for _, other := range rfcVectors {
			if _, err := keyring.Verify(body, signed(other.tag)); other.tag != vector.tag && err != lumin.ErrSignatureMismatch {
				t.Errorf("%s with the tag of %s: %v", vector.name, other.name, err)
			}
		}
	}
}

// A receiver may truncate an HMAC. Lumin sends all of it, so this one does not.
func TestVerifyTruncatedVector(t *testing.T) {
	t.Parallel()
	key, body, truncated := strings.Repeat("\x0c", 20), []byte("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b" // RFC 4231 5
	if tag := lumin.Sign(body, key); !strings.HasPrefix(tag, truncated) {
		t.Errorf("Sign returns %s", tag)
	}
	if _, err := lumin.AnyKeyring(key).Verify(body, signed(truncated)); err != lumin.ErrSignatureMalformed {
		t.Errorf("the truncated tag: %v", err)
	}
	padded := truncated + strings.Repeat("0", 32)
	if _, err := lumin.AnyKeyring(key).Verify(body, signed(padded)); err != lumin.ErrSignatureMismatch {
		t.Errorf("the truncated tag, padded: %v", err)
	}
}

// TestVerifyChangedTags changes a valid tag in the ways that Wycheproof's
// vectors do. The unchanged tag is accepted in any case of its digits.
func TestVerifyChangedTags(t *testing.T) {
	t.Parallel()
	keyring, body := newKeyring(t, accountKey), []byte(documentedBody)
	refuses := func(tag string, want error, what string, args ...any) {
		t.Helper()
		if _, err := keyring.Verify(body, signed(tag)); err != want {
			t.Errorf("%s: %v, want %v", fmt.Sprintf(what, args...), err, want)
		}
	}
	tag, err := hex.DecodeString(accountSignature)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(tag) {
		flipped := slices.Clone(tag)
		flipped[bit/8] ^= 1 << (bit % 8)
		refuses(hex.EncodeToString(flipped), lumin.ErrSignatureMismatch, "bit %d flipped", bit)
	}
	for i := range tag {
		for _, change := range []byte{0x7f, 0x80, 0xff} {
			changed := slices.Clone(tag)
			changed[i] ^= change
			refuses(hex.EncodeToString(changed), lumin.ErrSignatureMismatch, "byte %d xor %x", i, change)
		}
	}
	for length := range len(accountSignature) {
		refuses(accountSignature[:length], lumin.ErrSignatureMalformed, "the first %d digits", length)
		refuses(accountSignature[length+1:], lumin.ErrSignatureMalformed, "without the first %d digits", length+1)
		refuses(accountSignature[:length]+"g"+accountSignature[length+1:], lumin.ErrSignatureMalformed, "digit %d is g", length)
	}
	for _, more := range []string{"0", "00", "\x00", "\n", "\r\n", " ", "\t", "\v", "\u00a0", "\u200b", "\ufeff", ",", ";", "=", "0x", "sha256=", "SHA256=", "sha-256:", "v1,", "t=1,v1=", `"`, accountSignature} {
		refuses(accountSignature+more, lumin.ErrSignatureMalformed, "%q behind it", more)
		refuses(more+accountSignature, lumin.ErrSignatureMalformed, "%q before it", more)
		if len(more) < len(accountSignature) { // with the length of a tag
			refuses((more + accountSignature)[:64], malformedUnlessHex(more), "%q before its first digits", more)
			refuses((accountSignature + more)[len(more):], malformedUnlessHex(more), "%q behind its last digits", more)
		}
	}
	refuses(strings.Repeat("０", 64), lumin.ErrSignatureMalformed, "full-width digits")
	refuses(strings.Repeat("０", 21)+"0", lumin.ErrSignatureMalformed, "full-width digits in 64 bytes")
	refuses(string(tag), lumin.ErrSignatureMalformed, "the bytes of the tag")
	refuses(string(tag)+string(tag), lumin.ErrSignatureMalformed, "the bytes of the tag twice")
	refuses(base64.StdEncoding.EncodeToString(tag), lumin.ErrSignatureMalformed, "Base64")
	refuses(hex.EncodeToString([]byte(accountSignature)), lumin.ErrSignatureMalformed, "hex of hex")
	slices.Reverse(tag)
	refuses(hex.EncodeToString(tag), lumin.ErrSignatureMismatch, "reversed")
	for _, digit := range "0123456789abcdefABCDEF" {
		refuses(strings.Repeat(string(digit), 64), lumin.ErrSignatureMismatch, "only the digit %c", digit)
	}
	for _, valid := range []string{accountSignature, strings.ToUpper(accountSignature)} {
		if _, err := keyring.Verify(body, signed(valid)); err != nil {
			t.Errorf("%s: %v", valid, err)
		}
	}
}

// malformedUnlessHex returns the error for a tag that has digits replaced by
// part.
func malformedUnlessHex(part string) error {
	if strings.Trim(part, "0") == "" {
		return lumin.ErrSignatureMismatch
	}
	return lumin.ErrSignatureMalformed
}

// Tags that other keys and other algorithms give.
func TestVerifyOtherTags(t *testing.T) {
	t.Parallel()
	body := []byte(documentedBody)
	mac := func(h func() hash.Hash, key, message string) string {
		m := hmac.New(h, []byte(key))
		m.Write([]byte(message))
		return (hex.EncodeToString(m.Sum(nil)) + strings.Repeat("0", 64))[:64]
	}
	plain := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	for name, tag := range map[string]string{
		"HMAC-MD5":            mac(md5.New, accountKey, documentedBody),
		"HMAC-SHA1":           mac(sha1.New, accountKey, documentedBody),
		"HMAC-SHA224":         mac(sha256.New224, accountKey, documentedBody),
		"HMAC-SHA512":         mac(sha512.New, accountKey, documentedBody),
		"HMAC-SHA512/256":     mac(sha512.New512_256, accountKey, documentedBody),
		"HMAC-SHA3-256":       mac(func() hash.Hash { return sha3.New256() }, accountKey, documentedBody),
		"SHA256 of the body":  plain(documentedBody),
		"key before the body": plain(accountKey + documentedBody),
		"key behind the body": plain(documentedBody + accountKey),
		"key and body change": mac(sha256.New, documentedBody, accountKey),
		"no key":              lumin.Sign(body, ""),
		"another key":         lumin.Sign(body, appKey),
		"key in upper case":   lumin.Sign(body, strings.ToUpper(accountKey)),
		"key and a newline":   lumin.Sign(body, accountKey+"\n"),
		"key and a space":     lumin.Sign(body, " "+accountKey),
		"key in quotes":       lumin.Sign(body, `"`+accountKey+`"`),
		"key in UTF-16":       lumin.Sign(body, strings.Join(strings.Split(accountKey, ""), "\x00")+"\x00"),
		"key in hex":          lumin.Sign(body, hex.EncodeToString([]byte(accountKey))),
		"key in Base64":       lumin.Sign(body, base64.StdEncoding.EncodeToString([]byte(accountKey))),
		"half of the key":     lumin.Sign(body, accountKey[:9]),
		"the id of the key":   lumin.Sign(body, lumin.KeyID(accountKey)),
		"an empty body":       lumin.Sign(nil, accountKey),
		"a newline more":      lumin.Sign([]byte(documentedBody+"\n"), accountKey),
		"a line end more":     lumin.Sign([]byte(documentedBody+"\r\n"), accountKey),
		"a byte order mark":   lumin.Sign([]byte("\ufeff"+documentedBody), accountKey),
		"a zero byte more":    lumin.Sign([]byte(documentedBody+"\x00"), accountKey),
		"a byte less":         lumin.Sign(body[:len(body)-1], accountKey),
		"compact JSON":        lumin.Sign([]byte(strings.ReplaceAll(documentedBody, " ", "")), accountKey),
		"the body in hex":     lumin.Sign([]byte(hex.EncodeToString(body)), accountKey),
		"the id's label":      lumin.Sign([]byte("lumin-ingest key id"), accountKey),
	} {
		if _, err := newKeyring(t, accountKey).Verify(body, signed(tag)); err != lumin.ErrSignatureMismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// HMAC pads a short key with zero bytes and replaces a long one by its hash. So
// some pairs of keys are one key to HMAC. NewKeyring accepts only one of each
// pair: the other has a zero byte, or is 32 arbitrary bytes.
func TestEquivalentKeys(t *testing.T) {
	t.Parallel()
	body, long := []byte(documentedBody), strings.Repeat("long_key_", 8)
	hashed := sha256.Sum256([]byte(long))
	for name, pair := range map[string]struct{ key, equivalent string }{
		"a zero byte more":   {accountKey, accountKey + "\x00"},
		"padded to a block":  {accountKey, accountKey + strings.Repeat("\x00", 64-len(accountKey))},
		"longer than 64":     {long, string(hashed[:])},
		"hash, and a zero":   {long, string(hashed[:]) + "\x00"},
		"hash of 65 of them": {strings.Repeat("k", 65), func() string { sum := sha256.Sum256([]byte(strings.Repeat("k", 65))); return string(sum[:]) }()},
	} {
		if lumin.Sign(body, pair.key) != lumin.Sign(body, pair.equivalent) {
			t.Errorf("%s: not equivalent", name)
		}
		if _, err := lumin.NewKeyring(pair.key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := lumin.NewKeyring(pair.equivalent); err == nil {
			t.Errorf("%s: the equivalent key is accepted", name)
		}
	}
	// A key of exactly one block is used as it is.
	block := strings.Repeat("k", 64)
	sum := sha256.Sum256([]byte(block))
	if lumin.Sign(body, block) == lumin.Sign(body, string(sum[:])) {
		t.Error("a key of 64 bytes is hashed")
	}
}

// agreeingCases is the number of random cases of TestVerifyAgrees: a million, and
// fewer with the race detector unless LUMIN_TEST_HMAC is set.
func agreeingCases() int {
	if raceDetector && os.Getenv("LUMIN_TEST_HMAC") == "" {
		return 50_000 // the race detector makes SHA-256 slow, and there is little to race
	}
	return 1_000_000
}

// Verify agrees with an HMAC written out from its definition, on random keys,
// bodies and changed tags.
func TestVerifyAgrees(t *testing.T) {
	t.Parallel()
	const goroutines, perKey = 4, 10
	seed := rand.Uint64()
	t.Logf("seed %d, %d cases", seed, agreeingCases())
	var all sync.WaitGroup
	for part := range uint64(goroutines) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, part))
			for range agreeingCases() / goroutines / perKey {
				key := randomKey(random)
				keyring, err := lumin.NewKeyring(key)
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					return
				}
				for range perKey {
					if !agrees(t, random, keyring, key) {
						t.Errorf("seed %d", seed)
						return
					}
				}
			}
		})
	}
	all.Wait()
}

func agrees(t *testing.T, random *rand.Rand, keyring *lumin.Keyring, key string) bool {
	body := make([]byte, random.IntN(200))
	for i := range body {
		body[i] = byte(random.Uint32())
	}
	tag := handHMAC(key, body)
	valid := random.IntN(2) == 0
	if !valid {
		switch random.IntN(3) {
		case 0:
			tag[random.IntN(len(tag))] ^= 1 << random.IntN(8)
		case 1:
			tag = handHMAC(key+"k", body)
		case 2:
			tag = handHMAC(key, append(body[:len(body):len(body)], byte(random.Uint32())))
		}
	}
	_, err := keyring.Verify(body, signed(hex.EncodeToString(tag[:])))
	if (err == nil) != valid {
		t.Errorf("key %q, body %x, tag %x: %v", key, body, tag, err)
		return false
	}
	return true
}

// randomKey returns a key of 16 to 150 bytes, often as long as a block.
func randomKey(random *rand.Rand) string {
	length := 16 + random.IntN(135)
	if random.IntN(4) == 0 {
		length = 63 + random.IntN(3)
	}
	key := make([]byte, length)
	for i := range key {
		key[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[random.IntN(64)]
	}
	return string(key)
}
