package lumin_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"lumin-ingest/lumin"
	"pgregory.net/rapid"
)

func TestSameExceptDetailsURL(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for _, test := range []struct {
		name, a, b string
		want       bool
	}{
		{"equal", documentedBody, documentedBody, true},
		{"equal and empty", "", "", true},
		{"equal and not JSON", "x", "x", true},
		{"at the top level", `{"a":1,"details_url":"t1"}`, `{"a":1,"details_url":"t2"}`, true},
		{"inside signature_request", `{"signature_request":{"details_url":"t1","a":1}}`, `{"signature_request":{"details_url":"token 2","a":1}}`, true},
		{"in both places", `{"signature_request":{"details_url":"a"},"details_url":"b"}`, `{"signature_request":{"details_url":"b"},"details_url":"a"}`, true},
		{"several times", `{"details_url":"a","details_url":"b"}`, `{"details_url":"","details_url":"c"}`, true},
		{"of another type", `{"details_url":"a"}`, `{"details_url":null}`, true},
		{"holding an object", `{"details_url":{"signature_request":{"details_url":1}}}`, `{"details_url":[]}`, true},
		{"name with escapes", `{"details\u005furl":"a"}`, `{"details\u005furl":"b"}`, true},
		{"in a deep body", `{"x":` + deep + `,"details_url":"a"}`, `{"x":` + deep + `,"details_url":"b"}`, true},

		{"name written differently", `{"details\u005furl":"a"}`, `{"details_url":"a"}`, false},
		{"another member too", `{"a":1,"details_url":"t1"}`, `{"a":2,"details_url":"t2"}`, false},
		{"another member only", `{"a":1,"details_url":"t1"}`, `{"a":2,"details_url":"t1"}`, false},
		{"another member of the request", `{"signature_request":{"details_url":"a","status":"x"}}`, `{"signature_request":{"details_url":"a","status":"y"}}`, false},
		{"only one has it", `{"a":1,"details_url":"t1"}`, `{"a":1}`, false},
		{"one has it twice", `{"details_url":"a"}`, `{"details_url":"a","details_url":"a"}`, false},
		{"moved", `{"a":1,"details_url":"x"}`, `{"details_url":"x","a":1}`, false},
		{"moved into the request", `{"details_url":"x","signature_request":{}}`, `{"signature_request":{"details_url":"x"}}`, false},
		{"white space around the value", `{"details_url":"x"}`, `{"details_url": "x"}`, false},
		{"white space elsewhere", `{"details_url":"x"}`, `{"details_url":"x"} `, false},
		{"in another case", `{"Details_URL":"a"}`, `{"Details_URL":"b"}`, false},
		{"inside event", `{"event":{"details_url":"a"}}`, `{"event":{"details_url":"b"}}`, false},
		{"deeper inside signature_request", `{"signature_request":{"x":{"details_url":"a"}}}`, `{"signature_request":{"x":{"details_url":"b"}}}`, false},
		{"inside an array", `{"signature_request":[{"details_url":"a"}]}`, `{"signature_request":[{"details_url":"b"}]}`, false},
		{"in an array after an object", `{"signature_request":{"details_url":1},"signature_request":["a"]}`, `{"signature_request":{"details_url":1},"signature_request":["b"]}`, false},
		{"inside a top-level array", `[{"details_url":"a"}]`, `[{"details_url":"b"}]`, false},
		{"as a value", `{"a":"details_url","b":"x"}`, `{"a":"details_url","b":"y"}`, false},
		{"inside a string", `{"a":"{\"details_url\":1}"}`, `{"a":"{\"details_url\":2}"}`, false},
		{"one is not JSON", `{"details_url":"a"}`, `{"details_url":"b"`, false},
		{"neither is JSON", `{"details_url":"a"`, `{"details_url":"b"`, false},
		{"the value is not JSON", `{"details_url":"a"}`, `{"details_url":b}`, false},
		{"one is empty", ``, `{}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := lumin.SameExceptDetailsURL([]byte(test.a), []byte(test.b)); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
			if got := lumin.SameExceptDetailsURL([]byte(test.b), []byte(test.a)); got != test.want {
				t.Errorf("with swapped arguments: %t, want %t", got, test.want)
			}
		})
	}
}

// Two deliveries that differ only in their tokens are the same. If any other
// byte differs, they are not.
func TestSameExceptDetailsURLTokens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.StringMatching(`[A-Za-z0-9.%\\/"]{0,40}`)
		write := func(label string) (body string, free [][2]int) {
			var b strings.Builder
			value := func() {
				text, err := json.Marshal("https://sign.example/?token=" + token.Draw(t, label))
				if err != nil {
					t.Fatal(err)
				}
				free = append(free, [2]int{b.Len(), b.Len() + len(text)})
				b.Write(text)
			}
			b.WriteString(`{"event":{"event_time":17},"details_url":`)
			value()
			b.WriteString(`,"signature_request":{"title":"details_url","details_url" : `)
			value()
			b.WriteString(` ,"status":"APPROVED"}}`)
			return b.String(), free
		}
		a, _ := write("a")
		b, free := write("b")
		if !lumin.SameExceptDetailsURL([]byte(a), []byte(b)) {
			t.Fatalf("not the same:\n%s\n%s", a, b)
		}
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		for _, span := range free {
			if span[0] <= at && at < span[1] {
				return
			}
		}
		changed := []byte(b)
		changed[at] ^= rapid.ByteMin(1).Draw(t, "by")
		if lumin.SameExceptDetailsURL([]byte(a), changed) {
			t.Fatalf("the same:\n%s\n%s", a, changed)
		}
	})
}

// FuzzSameExceptDetailsURL: reflexive, symmetric, and never true of two bodies
// that encoding/json finds different once details_url is removed.
func FuzzSameExceptDetailsURL(f *testing.F) {
	for _, pair := range [][2]string{
		{documentedBody, documentedBody + " "},
		{`{"details_url":"a","x":1}`, `{"details_url":[{}],"x":1}`},
		{`{"signature_request":{"details_url":"a"}}`, `{"signature_request":{"details_url":"b"}}`},
		{`{"signature_request":{"details_url":"a"},"details_url":1}`, `{"signature_request":{"details_url":""},"details_url":2}`},
		{`{"details_url":"a","details_url":"a"}`, `{"details_url":"b","details_url":"b"}`},
		{`{"details_url":"a`, `{"details_url":"b`},
		{"", "\x00"},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		same := lumin.SameExceptDetailsURL(a, b)
		if lumin.SameExceptDetailsURL(b, a) != same {
			t.Fatalf("%t, but not with swapped arguments", same)
		}
		if !lumin.SameExceptDetailsURL(a, bytes.Clone(a)) || !lumin.SameExceptDetailsURL(b, bytes.Clone(b)) {
			t.Fatal("not the same as itself")
		}
		if len(a)+len(b) >= 10_000 || bytes.Equal(a, b) || !same {
			return // not comparable: invalid JSON, or too deep for encoding/json
		}
		if restA, restB := withoutDetailsURL(t, a), withoutDetailsURL(t, b); !reflect.DeepEqual(restA, restB) {
			t.Fatalf("the same, but %v is not %v", restA, restB)
		}
	})
}

func withoutDetailsURL(t *testing.T, body []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var v map[string]any
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	delete(v, "details_url")
	if request, ok := v["signature_request"].(map[string]any); ok {
		delete(request, "details_url")
	}
	return v
}
