package lumin_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
)

func TestTerminal(t *testing.T) {
	t.Parallel()
	for status, want := range map[lumin.Status]bool{
		"NEED_TO_SIGN": false, "WAITING_FOR_OTHERS": false, "WAITING_FOR_PROCESSING": false,
		"APPROVED": true, "REJECTED": true, "FAILED": true, "CANCELLED": true,
		"": false, "approved": false, "EXPIRED": false,
	} {
		if status.Terminal() != want {
			t.Errorf("%q: %t, want %t", status, !want, want)
		}
	}
	constants := []lumin.Status{
		lumin.StatusNeedToSign, lumin.StatusWaitingForOthers, lumin.StatusWaitingForProcessing,
		lumin.StatusApproved, lumin.StatusRejected, lumin.StatusFailed, lumin.StatusCancelled,
	}
	if got, want := constants, "[NEED_TO_SIGN WAITING_FOR_OTHERS WAITING_FOR_PROCESSING APPROVED REJECTED FAILED CANCELLED]"; stringOf(got) != want {
		t.Errorf("constants %v, want %s", got, want)
	}
}

func stringOf(statuses []lumin.Status) string {
	var words []string
	for _, s := range statuses {
		words = append(words, string(s))
	}
	return "[" + strings.Join(words, " ") + "]"
}

// Results are compared as JSON, where an absent field is null.
func TestDecodeSignatureRequest(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for _, test := range []struct {
		name, request string // request: members of the signature_request object
		want          map[string]any
	}{
		{"nothing", ``, nil},
		{"everything", `"signature_request_id":"id","title":"Lease","status":"REJECTED","reason":"no","message":"m","signing_type":"ORDER","created_at":1694664207595,"updated_at":"1694664207596","expires_at":253402300799999`,
			map[string]any{"ID": "id", "Title": "Lease", "Status": "REJECTED", "Reason": "no", "SigningType": "ORDER",
				"CreatedAt": "2023-09-14T04:03:27.595Z", "UpdatedAt": "2023-09-14T04:03:27.596Z", "ExpiresAt": "9999-12-31T23:59:59.999Z"}},
		{"empty strings are kept", `"title":"","reason":"","message":"m"`, map[string]any{"Title": "", "Reason": ""}},
		{"unknown status", `"status":"EXPIRED"`, map[string]any{"Status": "EXPIRED"}},
		{"message for reason", `"message":"bad tags"`, map[string]any{"Reason": "bad tags"}},
		{"message for a reason of another type", `"message":"bad tags","reason":{"code":1}`, map[string]any{"Reason": "bad tags"}},
		{"reason before message", `"message":"m","reason":"r"`, map[string]any{"Reason": "r"}},
		{"other types", `"signature_request_id":1,"title":null,"status":[],"reason":{},"message":true,"signing_type":1.5,"created_at":null,"updated_at":[1],"expires_at":{"a":1}`, nil},
		{"invalid times", `"created_at":0,"updated_at":-1,"expires_at":1.5`, nil},
		{"strings that are not times", `"created_at":"","updated_at":"2023-09-14","expires_at":"1e3"`, nil},
		{"times out of range", `"created_at":253402300800000,"updated_at":18446744073709551617,"expires_at":"99999999999999999999999"`, nil},
		{"the last usable one of several", `"title":"a","title":"b","title":null,"created_at":1,"created_at":2,"created_at":"x"`, map[string]any{"Title": "b", "CreatedAt": "1970-01-01T00:00:00.002Z"}},
		{"another case is another member", `"title":"a","Title":"b","TITLE":"c"`, map[string]any{"Title": "a"}},
		{"names with escapes", `"t\u0069tle":"a"`, map[string]any{"Title": "a"}},
		{"NUL is removed", `"title":"a\u0000b\u0000"`, map[string]any{"Title": "ab"}},
		{"lone surrogates are replaced", `"title":"a\ud800b\udc00\ud83d\ud83d\ude00"`, map[string]any{"Title": "a\ufffdb\ufffd\ufffd😀"}},
		{"bytes that are not UTF-8 are replaced", `"title":"` + "a\xff\xed\xa0\x80b" + `"`, map[string]any{"Title": "a\ufffd\ufffd\ufffd\ufffdb"}},
		{"ordinary text stays", `"title":"<b>\"Zoë\" \\ 😀\n\ufffd"`, map[string]any{"Title": "<b>\"Zoë\" \\ 😀\n\ufffd"}},
		{"deep members", `"x":` + deep + `,"title":` + deep + `,"status":"FAILED","y":` + deep, map[string]any{"Status": "FAILED"}},
		{"fields of deeper objects", `"x":{"title":"no"},"signers":[{"status":"no","name":"x"}]`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			body := `{"title":"no","status":"no","event":{"title":"no","status":"no"},"signature_request":{` + test.request + `},"reason":"no"}`
			r, err := lumin.DecodeSignatureRequest([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"ID": nil, "Title": nil, "Status": nil, "Reason": nil, "SigningType": nil, "CreatedAt": nil, "UpdatedAt": nil, "ExpiresAt": nil}
			for name, value := range test.want {
				if _, ok := want[name]; !ok {
					t.Fatalf("no field %s", name)
				}
				want[name] = value
			}
			if got, want := jsonOf(t, r), jsonOf(t, want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if r.CreatedAt != nil && r.CreatedAt.Location() != time.UTC {
				t.Error("not in UTC")
			}
		})
	}
	t.Run("in the documented body", func(t *testing.T) {
		t.Parallel()
		r, err := lumin.DecodeSignatureRequest([]byte(documentedBody))
		if err != nil || r.ID == nil || *r.ID != "fa5c8a0b0f492d768749333ad6fcc214c111e967" || r.Title == nil || *r.Title != "My first request" || r.Status != nil {
			t.Errorf("%v, %v", jsonOf(t, r), err)
		}
	})
	t.Run("in an answer of the API", func(t *testing.T) {
		t.Parallel()
		r, err := lumin.DecodeSignatureRequest([]byte(`{"signature_request":{"status":"APPROVED"}}`))
		if err != nil || r.Status == nil || *r.Status != lumin.StatusApproved {
			t.Errorf("%v, %v", jsonOf(t, r), err)
		}
	})
	t.Run("one object among values of other types", func(t *testing.T) {
		t.Parallel()
		r, err := lumin.DecodeSignatureRequest([]byte(`{"signature_request":1,"signature_request":{"status":"APPROVED"},"signature_request":[]}`))
		if err != nil || r.Status == nil || *r.Status != lumin.StatusApproved {
			t.Errorf("%v, %v", jsonOf(t, r), err)
		}
	})
}

func TestDecodeSignatureRequestRefuses(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":                 "",
		"no JSON":                 "ann@example.com",
		"truncated JSON":          `{"signature_request":{"title":"ann@example.com"}`,
		"two values":              `{"signature_request":{"title":"ann@example.com"}}{}`,
		"an array":                `["ann@example.com"]`,
		"no signature_request":    `{"ann@example.com":1}`,
		"null for it":             `{"signature_request":null}`,
		"a string for it":         `{"signature_request":"ann@example.com"}`,
		"an array for it":         `{"signature_request":[{"title":"ann@example.com"}]}`,
		"it inside another":       `{"x":{"signature_request":{"title":"ann@example.com"}}}`,
		"the name in another way": `{"Signature_Request":{"title":"ann@example.com"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := lumin.DecodeSignatureRequest([]byte(body))
			if err == nil {
				t.Fatal("accepted")
			}
			if r != (lumin.SignatureRequest{}) {
				t.Errorf("fields with the error: %s", jsonOf(t, r))
			}
			if strings.Contains(err.Error(), "ann") {
				t.Errorf("the error shows the body: %v", err)
			}
		})
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	if r, ok := v.(lumin.SignatureRequest); ok { // as a map, so that the keys are sorted alike
		v = map[string]any{"ID": r.ID, "Title": r.Title, "Status": r.Status, "Reason": r.Reason,
			"SigningType": r.SigningType, "CreatedAt": r.CreatedAt, "UpdatedAt": r.UpdatedAt, "ExpiresAt": r.ExpiresAt}
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
