package lumin

import "encoding/json"

// SignerEmail returns event.event_metadata.signer_email of a delivery's body,
// unchanged. It is the address of the person whose action the event reports,
// and is personal data. It is empty if the body does not contain it.
func SignerEmail(body []byte) string {
	var delivery struct {
		Event struct {
			Metadata json.RawMessage `json:"event_metadata"`
		} `json:"event"`
	}
	var metadata struct {
		SignerEmail string `json:"signer_email"`
	}
	if json.Unmarshal(body, &delivery) != nil || json.Unmarshal(delivery.Event.Metadata, &metadata) != nil {
		return ""
	}
	return metadata.SignerEmail
}
