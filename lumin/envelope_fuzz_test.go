package lumin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lumin-ingest/lumin"
)

// FuzzDecodeEnvelope compares the decoder with an independent one, built on
// encoding/json. It skips bodies that reach the 10,000 levels of encoding/json.
func FuzzDecodeEnvelope(f *testing.F) {
	for _, body := range []string{
		documentedBody,
		fmt.Sprintf(validBody, "", "", ""),
		fmt.Sprintf(validBody, `,"event":{}`, `,"title":"\u0000\ud800"`, `,"event_time":[1,2.5e-3,true,null]`),
		fmt.Sprintf(validBody, `,"\u0065vent_time":1`, "", ""),
		fmt.Sprintf(validBody, "", "", `,"event":{}`),
		`{"event":{"event_time":"0017","event_type":"\ud83d\ude00"},"signature_request":{"signature_request_id":"\ud83d"}}`,
		`{"event":{"event_time":253402300799999,"event_type":"t"},"signature_request":{"signature_request_id":"` + "\ufffd\xff" + `"}}`,
		`{"event":{"event_time":1,"event_type":"\n` + "\ufffd" + `"},"signature_request":{"signature_request_id":"\ufffd\ude00"}}`,
		`{"event":{"event_time":99999999999999999999,"event_type":""},"signature_request":{}}`,
		"\ufeff{}", "", "[]", `{"a":-0.0E+1}`, `{"event":null}`, `"\ud800\u0041"`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := lumin.DecodeEnvelope(body)
		if err != nil {
			var unrecognized *lumin.UnrecognizedError
			if !errors.As(err, &unrecognized) || unrecognized.Reason == "" || e != (lumin.Envelope{}) {
				t.Fatalf("%v, %v", e, err)
			}
		} else {
			if again := encode(t, e); e.Key() != again.Key() || e != again {
				t.Fatalf("%v came back as %v", e, again)
			}
			if parsed, err := lumin.ParseEventKey(e.Key().String()); err != nil || parsed != e.Key() {
				t.Fatalf("key %s parsed as %v, %v", e.Key(), parsed, err)
			}
		}

		if bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) >= 10_000 {
			return // may be too deep for encoding/json
		}
		notJSON := err != nil && err.Error() == "unrecognized event: not JSON"
		if json.Valid(body) == notJSON {
			t.Fatalf("json.Valid says %t, error is %v", !notJSON, err)
		}
		if want, ok := secondDecode(body); ok != (err == nil) || want != e {
			t.Fatalf("%v, %v; the second decoder: %v, %t", e, err, want, ok)
		}
	})
}

// encode writes an envelope as another JSON library would and decodes it.
func encode(t *testing.T, e lumin.Envelope) lumin.Envelope {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"event":             map[string]any{"event_time": fmt.Sprint(e.EventTime.UnixMilli()), "event_type": e.EventType},
		"signature_request": map[string]any{"signature_request_id": e.SignatureRequestID},
	})
	if err != nil {
		t.Fatal(err)
	}
	again, err := lumin.DecodeEnvelope(body)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return again
}

var (
	digitsOnly    = regexp.MustCompile(`^[0-9]+$`)
	jsonCharacter = regexp.MustCompile(`(?s)\\u[0-9a-fA-F]{4}|\\.|.`)
)

// secondDecode is a slow, independent implementation of DecodeEnvelope.
func secondDecode(body []byte) (lumin.Envelope, bool) {
	if !json.Valid(body) {
		return lumin.Envelope{}, false
	}
	event := onlyMember(body, "event")
	request := onlyMember(body, "signature_request")
	ms, okTime := secondMillis(onlyMember(event, "event_time"))
	eventType, okType := secondText(onlyMember(event, "event_type"))
	id, okID := secondText(onlyMember(request, "signature_request_id"))
	if !okTime || !okType || !okID {
		return lumin.Envelope{}, false
	}
	return lumin.Envelope{SignatureRequestID: id, EventType: lumin.EventType(eventType), EventTime: time.UnixMilli(ms).UTC()}, true
}

// onlyMember returns the value of the named member if object is a JSON object
// with exactly one such member.
func onlyMember(object []byte, name string) json.RawMessage {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil
	}
	var found []json.RawMessage
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil
		}
		if token == name {
			found = append(found, value)
		}
	}
	if len(found) != 1 {
		return nil
	}
	return found[0]
}

func secondMillis(raw json.RawMessage) (int64, bool) {
	digits := string(raw)
	if text, ok := secondString(raw); ok {
		digits = text
	}
	if !digitsOnly.MatchString(digits) {
		return 0, false
	}
	ms, _ := new(big.Int).SetString(digits, 10)
	return ms.Int64(), ms.Sign() > 0 && ms.Cmp(big.NewInt(253402300799999)) <= 0
}

// secondText counts replacement characters. If encoding/json returns more of
// them than the string contains, it replaced something.
func secondText(raw json.RawMessage) (string, bool) {
	text, ok := secondString(raw)
	if !ok || !utf8.Valid(raw) || len(text) < 1 || len(text) > 255 || strings.Contains(text, "\x00") {
		return "", false
	}
	own := 0
	for _, character := range jsonCharacter.FindAllString(string(raw), -1) {
		if character == "\ufffd" || strings.EqualFold(character, `\ufffd`) {
			own++
		}
	}
	return text, strings.Count(text, "\ufffd") == own
}

func secondString(raw json.RawMessage) (string, bool) {
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", false
	}
	return *text, true
}
