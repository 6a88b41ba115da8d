package lumin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
)

func TestDecodeDocumentedBody(t *testing.T) {
	t.Parallel()
	want := lumin.Envelope{
		SignatureRequestID: "fa5c8a0b0f492d768749333ad6fcc214c111e967",
		EventType:          "signature_request_sent",
		EventTime:          time.Date(2023, 9, 14, 4, 3, 27, 595e6, time.UTC),
	}
	body := []byte(documentedBody)
	got, err := lumin.DecodeEnvelope(body)
	if err != nil || got != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	clear(body)
	if got != want {
		t.Error("the envelope shares memory with the body")
	}
}

// validBody is a body with an identity. Each %s is a place for more members.
const validBody = `{"event":{"event_time":17,"event_type":"t"%s},"signature_request":{"signature_request_id":"id"%s}%s}`

// Other members and the formatting of a body do not matter.
func TestDecodeEnvelopeAccepts(t *testing.T) {
	t.Parallel()
	at := func(inEvent, inRequest, top string) string { return fmt.Sprintf(validBody, inEvent, inRequest, top) }
	deep := func(open, end string, levels int) string {
		return strings.Repeat(open, levels) + "0" + strings.Repeat(end, levels)
	}
	for _, test := range []struct{ name, body string }{
		{"nothing else", at("", "", "")},
		{"white space", " \t\r\n" + strings.ReplaceAll(at("", "", ""), ":", " \n:\t") + "\r\n \t"},
		{"members in another order", `{"signature_request":{"signature_request_id":"id"},"event":{"event_type":"t","event_time":17}}`},
		{"time as a string", strings.Replace(at("", "", ""), "17", `"17"`, 1)},
		{"time as a string with escapes", strings.Replace(at("", "", ""), "17", `"\u0031\u0037"`, 1)},
		{"time as a string with leading zeros", strings.Replace(at("", "", ""), "17", `"`+strings.Repeat("0", 300)+`17"`, 1)},
		{"names with escapes", `{"\u0065vent":{"event\u005ftime":17,"event\u005Ftype":"t"},"signature_request":{"signature_request_id":"id"}}`},
		{"values with escapes", `{"event":{"event_time":17,"event_type":"\u0074"},"signature_request":{"signature_request_id":"\u0069d"}}`},
		{"every kind of value", at(`,"a":null`, `,"b":true,"c":false`, `,"d":-0.5e+10,"e":"","f":[],"g":{}, "h":[1,{"i":[]},[[]]]`)},
		{"members twice", at(`,"a":1,"a":2`, `,"title":"x","title":[]`, `,"a":1,"a":{"b":1,"b":1}`)},
		{"the five names in other places", at(
			`,"event":{},"signature_request":1,"signature_request_id":"other"`,
			`,"event":[],"event_time":99,"event_type":"other","signature_request":{"signature_request_id":"other"}`,
			`,"event_time":99,"event_type":"other","signature_request_id":"other","x":{"event":{"event_time":1},"event_time":1},"":{"event":1},"y":[{"event":1}]`)},
		{"the five names nested deeper", at(`,"event_metadata":{"event_time":1,"event_type":"other"}`, `,"signers":[{"signature_request_id":"other"}]`, "")},
		{"the five names in another case", at(`,"Event_Time":1,"EVENT_TYPE":"x"`, `,"Signature_Request_Id":"x"`, `,"Event":{},"EVENT":1,"SIGNATURE_REQUEST":{}`)},
		{"names similar to the five", at(`,"event_time\u0000":1,"event_time ":1`, `,"signature_request_id\ud800":1`, `,"event\u0000":1,"\u0000event":1,"event`+"\xff"+`":2,"`+"\ufeff"+`event":1`)},
		{"text that PostgreSQL refuses", at("", `,"title":"\u0000 \ud800 \udc00\ud800 `+"\xff\xc0\x80\xed\xa0\x80"+`"`, `,"\u0000":"\udfff"`)},
		{"numbers that no float64 holds", at(`,"a":1e999999`, `,"b":`+strings.Repeat("9", 5000), `,"c":-0`)},
		{"10,000 levels", at(`,"a":`+deep("[", "]", 10_000), "", "")},
		{"10,000 levels of objects", at("", `,"a":`+deep(`{"event":`, "}", 10_000), "")},
		{"500,000 levels", at("", "", `,"a":`+deep("[", "]", 500_000))},
		{"100,000 levels of both", at("", "", `,"a":`+deep(`[{"":`, "}]", 100_000))},
		{"many members", at("", "", strings.Repeat(`,"a":{"b":1}`, 50_000))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := lumin.Envelope{SignatureRequestID: "id", EventType: "t", EventTime: time.UnixMilli(17).UTC()}
			got, err := lumin.DecodeEnvelope([]byte(test.body))
			if err != nil || got != want {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
		})
	}
}

func TestDecodeEnvelopeTexts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, written, want string }{
		{"one byte", `"x"`, "x"},
		{"a space", `" "`, " "},
		{"255 bytes", `"` + strings.Repeat("x", 255) + `"`, strings.Repeat("x", 255)},
		{"255 bytes in 85 characters", `"` + strings.Repeat("€", 85) + `"`, strings.Repeat("€", 85)},
		{"255 bytes in 1530 of escapes", `"` + strings.Repeat(`\u0078`, 255) + `"`, strings.Repeat("x", 255)},
		{"every escape", `"\"\\\/\b\f\n\r\t\u00E9\u00e9\uABCD\uabcd"`, "\"\\/\b\f\n\r\téé\uabcd\uabcd"},
		{"a surrogate pair", `"\ud83d\ude00"`, "😀"},
		{"the first and the last pair", `"\uD800\uDC00\uDBFF\uDFFF"`, "\U00010000\U0010ffff"},
		{"just outside the surrogates", `"\ud7ff\ue000"`, "\ud7ff\ue000"},
		{"a literal replacement character", `"` + "\ufffd" + `"`, "\ufffd"},
		{"a literal replacement character and an escape", `"\t` + "\ufffd" + `"`, "\t\ufffd"},
		{"an escaped replacement character", `"\ufffd"`, "\ufffd"},
		{"controls but NUL", `"\u0001\u001f\u007f` + "\x7f" + `"`, "\x01\x1f\x7f\x7f"},
		{"noncharacters", `"\uffff` + "\ufffe" + `"`, "\uffff\ufffe"},
		{"beyond the basic plane", `"😀é"`, "😀é"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := lumin.DecodeEnvelope([]byte(`{"event":{"event_time":1,"event_type":` + test.written + `},"signature_request":{"signature_request_id":` + test.written + `}}`))
			if err != nil {
				t.Fatal(err)
			}
			if got.SignatureRequestID != test.want || string(got.EventType) != test.want {
				t.Errorf("%q and %q, want %q", got.SignatureRequestID, got.EventType, test.want)
			}
		})
	}
}

func TestDecodeEnvelopeTimes(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"1":               "1970-01-01T00:00:00.001Z",
		"1694664207595":   "2023-09-14T04:03:27.595Z",
		"253402300799999": "9999-12-31T23:59:59.999Z",
	} {
		for _, written := range []string{written, `"` + written + `"`} {
			body := strings.Replace(fmt.Sprintf(validBody, "", "", ""), "17", written, 1)
			e, err := lumin.DecodeEnvelope([]byte(body))
			if err != nil || e.EventTime.Format(time.RFC3339Nano) != want {
				t.Errorf("%s: %v, %v; want %s", written, e.EventTime, err, want)
			}
			if e.EventTime.Location() != time.UTC {
				t.Errorf("%s: not in UTC", written)
			}
		}
	}
}

func TestDecodeEnvelopeRefuses(t *testing.T) {
	t.Parallel()
	const (
		event   = `{"event_time":17,"event_type":"t"}`
		request = `{"signature_request_id":"id"}`
	)
	body := func(event, request string) string {
		return `{"event":` + event + `,"signature_request":` + request + `}`
	}
	timed := func(value string) string { return body(`{"event_time":`+value+`,"event_type":"t"}`, request) }
	typed := func(value string) string { return body(`{"event_time":17,"event_type":`+value+`}`, request) }
	named := func(value string) string { return body(event, `{"signature_request_id":`+value+`}`) }
	good := body(event, request)

	for _, test := range []struct{ name, body, want string }{
		{"an empty body", "", "not JSON"},
		{"white space only", " \n", "not JSON"},
		{"a byte order mark", "\ufeff" + good, "not JSON"},
		{"a second value", good + "{}", "not JSON"},
		{"a second body", good + "\n" + good, "not JSON"},
		{"a trailing comma", good + ",", "not JSON"},
		{"an extra brace", good + "}", "not JSON"},
		{"a trailing NUL", good + "\x00", "not JSON"},
		{"a leading NUL", "\x00" + good, "not JSON"},
		{"white space that JSON does not know", good + "\u00a0", "not JSON"},
		{"a form feed", good + "\f", "not JSON"},
		{"a comment", good + "// x", "not JSON"},
		{"a form", "payload=%7B%7D", "not JSON"},
		{"truncated between members", good[:len(good)-1], "not JSON"},
		{"truncated in a string", good[:len(good)-4], "not JSON"},
		{"trailing comma in an object", `{"event":` + event + `,}`, "not JSON"},
		{"leading comma in an object", `{,"event":` + event + `}`, "not JSON"},
		{"two commas", `{"a":1,,"b":1}`, "not JSON"},
		{"no comma", `{"a":1"b":1}`, "not JSON"},
		{"no colon", `{"a" 1}`, "not JSON"},
		{"two colons", `{"a"::1}`, "not JSON"},
		{"no value", `{"a":}`, "not JSON"},
		{"no name", `{:1}`, "not JSON"},
		{"a name alone", `{"a"}`, "not JSON"},
		{"a name that is not a string", `{a:1}`, "not JSON"},
		{"a number for a name", `{1:1}`, "not JSON"},
		{"single quotes", `{'a':1}`, "not JSON"},
		{"trailing comma in an array", `[1,]`, "not JSON"},
		{"leading comma in an array", `[,1]`, "not JSON"},
		{"a colon in an array", `["a":1]`, "not JSON"},
		{"containers crossed", `{"a":[}]`, "not JSON"},
		{"an array closed by a brace", `[1}`, "not JSON"},
		{"an object closed by a bracket", `{"a":1]`, "not JSON"},
		{"a closing bracket alone", `]`, "not JSON"},
		{"a bad literal", `{"a":nul}`, "not JSON"},
		{"a literal in upper case", `{"a":True}`, "not JSON"},
		{"a literal run on", `{"a":nullx}`, "not JSON"},
		{"NaN", `{"a":NaN}`, "not JSON"},
		{"a leading zero", timed("017"), "not JSON"},
		{"a leading plus", timed("+17"), "not JSON"},
		{"a minus alone", timed("-"), "not JSON"},
		{"a fraction without digits", timed("17."), "not JSON"},
		{"a fraction alone", timed(".5"), "not JSON"},
		{"an exponent without digits", timed("17e"), "not JSON"},
		{"an exponent with a sign only", timed("17e+"), "not JSON"},
		{"an exponent with two signs", timed("17e+-1"), "not JSON"},
		{"a hexadecimal number", timed("0x11"), "not JSON"},
		{"an underscore", timed("1_7"), "not JSON"},
		{"a bad escape", named(`"\x"`), "not JSON"},
		{"a short escape", named(`"\u12"`), "not JSON"},
		{"an escape with a sign", named(`"\u+123"`), "not JSON"},
		{"an escape in upper case", named(`"\U0041"`), "not JSON"},
		{"a backslash before the end", `{"a":"\`, "not JSON"},
		{"an escaped closing quote", `{"a":"\"}`, "not JSON"},
		{"a raw newline in a string", named("\"a\nb\""), "not JSON"},
		{"a raw NUL in a string", named("\"a\x00b\""), "not JSON"},
		{"a raw control character in a name", "{\"a\x1fb\":1}", "not JSON"},
		{"1 MiB of open arrays", strings.Repeat("[", 1<<20), "not JSON"},
		{"1 MiB of open objects", strings.Repeat(`{"":`, 1<<18), "not JSON"},

		{"an array", "[" + good + "]", "not a JSON object"},
		{"null", "null", "not a JSON object"},
		{"a string", `"` + "x" + `"`, "not a JSON object"},
		{"a number", " 17 ", "not a JSON object"},

		{"an empty object", "{}", "event is missing"},
		{"no event", `{"signature_request":` + request + `}`, "event is missing"},
		{"event in another case", `{"Event":` + event + `,"signature_request":` + request + `}`, "event is missing"},
		{"event in another object", `{"x":` + good + `}`, "event is missing"},
		{"event twice", `{"event":` + event + `,"event":` + event + `,"signature_request":` + request + `}`, "event appears twice"},
		{"event three times", `{"event":1,"event":2,"event":` + event + `,"signature_request":` + request + `}`, "event appears twice"},
		{"event twice, once with escapes", `{"event":` + event + `,"\u0065vent":{},"signature_request":` + request + `}`, "event appears twice"},
		{"event null", body("null", request), "event is not an object"},
		{"event an array", body("["+event+"]", request), "event is not an object"},
		{"event a string of JSON", body(`"{}"`, request), "event is not an object"},

		{"no signature_request", `{"event":` + event + `}`, "signature_request is missing"},
		{"signature_request inside event", `{"event":{"event_time":17,"event_type":"t","signature_request":` + request + `}}`, "signature_request is missing"},
		{"signature_request twice", good[:len(good)-1] + `,"signature_request":{}}`, "signature_request appears twice"},
		{"signature_request an array", body(event, "["+request+"]"), "signature_request is not an object"},

		{"no event_time", body(`{"event_type":"t"}`, request), "event_time is missing"},
		{"event_time at the top level", `{"event_time":17,"event":{"event_type":"t"},"signature_request":` + request + `}`, "event_time is missing"},
		{"event_time too deep", body(`{"event_type":"t","x":{"event_time":17}}`, request), "event_time is missing"},
		{"event_time in another case", body(`{"event_type":"t","Event_time":17}`, request), "event_time is missing"},
		{"event_time twice", body(`{"event_time":17,"event_type":"t","event_time":17}`, request), "event_time appears twice"},
		{"event_time twice, once with escapes", body(`{"event_time":17,"event_type":"t","event\u005ftime":18}`, request), "event_time appears twice"},
		{"event_time null", timed("null"), "event_time is not a whole number of milliseconds"},
		{"event_time true", timed("true"), "event_time is not a whole number of milliseconds"},
		{"event_time an array", timed("[17]"), "event_time is not a whole number of milliseconds"},
		{"event_time an object", timed("{}"), "event_time is not a whole number of milliseconds"},
		{"event_time deep", timed(strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)), "event_time is not a whole number of milliseconds"},
		{"event_time a fraction", timed("17.5"), "event_time is not a whole number of milliseconds"},
		{"event_time a whole fraction", timed("17.0"), "event_time is not a whole number of milliseconds"},
		{"event_time with an exponent", timed("17e1"), "event_time is not a whole number of milliseconds"},
		{"event_time with a capital exponent", timed("1E3"), "event_time is not a whole number of milliseconds"},
		{"event_time negative", timed("-17"), "event_time is not a whole number of milliseconds"},
		{"event_time minus zero", timed("-0"), "event_time is not a whole number of milliseconds"},
		{"event_time an empty string", timed(`""`), "event_time is not a whole number of milliseconds"},
		{"event_time a string with a space", timed(`" 17"`), "event_time is not a whole number of milliseconds"},
		{"event_time a string with a sign", timed(`"+17"`), "event_time is not a whole number of milliseconds"},
		{"event_time a string with a fraction", timed(`"17.0"`), "event_time is not a whole number of milliseconds"},
		{"event_time a date", timed(`"2023-09-14T04:03:27Z"`), "event_time is not a whole number of milliseconds"},
		{"event_time in other digits", timed(`"١٧"`), "event_time is not a whole number of milliseconds"},
		{"event_time with NUL", timed(`"17\u0000"`), "event_time is not a whole number of milliseconds"},
		{"event_time huge, then not a digit", timed(`"` + strings.Repeat("9", 40) + `x"`), "event_time is not a whole number of milliseconds"},
		{"event_time zero", timed("0"), "event_time is out of range"},
		{"event_time a string of zeros", timed(`"000"`), "event_time is out of range"},
		{"event_time one too large", timed("253402300800000"), "event_time is out of range"},
		{"event_time a string one too large", timed(`"253402300800000"`), "event_time is out of range"},
		{"event_time 2⁶⁴ and 17", timed("18446744073709551633"), "event_time is out of range"},
		{"event_time of 100,000 digits", timed(strings.Repeat("1", 100_000)), "event_time is out of range"},
		{"event_time in nanoseconds", timed("1694664207595000000"), "event_time is out of range"},

		{"no event_type", body(`{"event_time":17}`, request), "event_type is missing"},
		{"event_type twice", body(`{"event_time":17,"event_type":"t","event_type":"t"}`, request), "event_type appears twice"},
		{"event_type null", typed("null"), "event_type is not a string"},
		{"event_type a number", typed("17"), "event_type is not a string"},
		{"event_type empty", typed(`""`), "event_type is empty"},
		{"event_type too long", typed(`"` + strings.Repeat("x", 256) + `"`), "event_type is longer than 255 bytes"},
		{"event_type with NUL", typed(`"a\u0000b"`), "event_type contains NUL"},
		{"event_type with a lone surrogate", typed(`"\ud800"`), "event_type is not Unicode"},
		{"event_type not UTF-8", typed("\"\xff\""), "event_type is not Unicode"},

		{"no signature_request_id", body(event, "{}"), "signature_request_id is missing"},
		{"signature_request_id at the top level", `{"signature_request_id":"id","event":` + event + `,"signature_request":{}}`, "signature_request_id is missing"},
		{"signature_request_id inside event", body(`{"event_time":17,"event_type":"t","signature_request_id":"id"}`, "{}"), "signature_request_id is missing"},
		{"signature_request_id too deep", body(event, `{"x":`+request+`}`), "signature_request_id is missing"},
		{"signature_request_id twice", body(event, `{"signature_request_id":"id","signature_request_id":"id"}`), "signature_request_id appears twice"},
		{"signature_request_id null", named("null"), "signature_request_id is not a string"},
		{"signature_request_id a number", named("17"), "signature_request_id is not a string"},
		{"signature_request_id an array", named(`["id"]`), "signature_request_id is not a string"},
		{"signature_request_id empty", named(`""`), "signature_request_id is empty"},
		{"signature_request_id of 256 bytes", named(`"` + strings.Repeat("x", 256) + `"`), "signature_request_id is longer than 255 bytes"},
		{"signature_request_id of 258 bytes in 86 characters", named(`"` + strings.Repeat("€", 86) + `"`), "signature_request_id is longer than 255 bytes"},
		{"signature_request_id with NUL", named(`"\u0000"`), "signature_request_id contains NUL"},
		{"signature_request_id with a lone high surrogate", named(`"a\ud83d"`), "signature_request_id is not Unicode"},
		{"signature_request_id with a lone low surrogate", named(`"\ude00a"`), "signature_request_id is not Unicode"},
		{"signature_request_id with surrogates the wrong way round", named(`"\ude00\ud83d"`), "signature_request_id is not Unicode"},
		{"signature_request_id with two high surrogates and a low one", named(`"\ud83d\ud83d\ude00"`), "signature_request_id is not Unicode"},
		{"signature_request_id with a surrogate and another escape", named(`"\ud83d\n"`), "signature_request_id is not Unicode"},
		{"signature_request_id with a surrogate and a character", named(`"\ud83d\u0041"`), "signature_request_id is not Unicode"},
		{"signature_request_id with a surrogate and an escaped backslash", named(`"\ud83d\\ude00"`), "signature_request_id is not Unicode"},
		{"signature_request_id with a surrogate in UTF-8", named("\"\xed\xa0\x80\""), "signature_request_id is not Unicode"},
		{"signature_request_id with an overlong NUL", named("\"\xc0\x80\""), "signature_request_id is not Unicode"},
		{"signature_request_id cut in a character", named("\"\xe2\x82\""), "signature_request_id is not Unicode"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e, err := lumin.DecodeEnvelope([]byte(test.body))
			if err == nil {
				t.Fatalf("accepted: %v", e)
			}
			if e != (lumin.Envelope{}) {
				t.Errorf("an envelope with the error: %v", e)
			}
			var unrecognized *lumin.UnrecognizedError
			if !errors.As(err, &unrecognized) || unrecognized.Reason != test.want {
				t.Errorf("error %v, want reason %q", err, test.want)
			}
		})
	}
	t.Run("every truncation", func(t *testing.T) {
		t.Parallel()
		for i := range len(documentedBody) {
			if _, err := lumin.DecodeEnvelope([]byte(documentedBody[:i])); err == nil {
				t.Errorf("accepted %q", documentedBody[:i])
			}
		}
	})
}
