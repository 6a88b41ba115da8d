package load

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// perMillisecond is the number of consecutive events that share an event_time.
const perMillisecond = 8

// bodies makes the bodies of a load from one template per event type.
type bodies struct {
	series    uint32
	base      int64
	templates []template
}

// template is a body with the places of its id and its time.
type template struct {
	body []byte
	ids  []int
	time int
}

func newBodies(series uint32, base int64) bodies {
	b := bodies{series: series, base: base}
	placeholder := strings.Repeat("f", 2*sha1.Size)
	at := time.UnixMilli(base)
	for _, eventType := range []lumin.EventType{
		lumin.SignatureRequestCreated, lumin.SignatureRequestViewed, lumin.SignatureRequestSigned,
		lumin.SignatureRequestApproved, lumin.SignatureRequestDownloadable,
	} {
		t := template{body: sample.Delivery{EventType: eventType, SignatureRequestID: placeholder, At: at, Token: "0123456789abcdef"}.Body()}
		for from := 0; ; {
			i := bytes.Index(t.body[from:], []byte(placeholder))
			if i < 0 {
				break
			}
			t.ids = append(t.ids, from+i)
			from += i + len(placeholder)
		}
		const member = `"event_time":`
		t.time = bytes.Index(t.body, []byte(member)) + len(member)
		b.templates = append(b.templates, t)
	}
	return b
}

// id returns the signature request of event n.
func (b bodies) id(n int) string {
	var seed [12]byte
	binary.BigEndian.PutUint32(seed[:4], b.series)
	binary.BigEndian.PutUint64(seed[4:], uint64(n))
	sum := sha1.Sum(seed[:])
	return hex.EncodeToString(sum[:])
}

// body writes the body of event n into buffer, and returns it.
func (b bodies) body(buffer []byte, n int) []byte {
	t := b.templates[n%len(b.templates)]
	buffer = append(buffer[:0], t.body...)
	id := b.id(n)
	for _, at := range t.ids {
		copy(buffer[at:], id)
	}
	// The number of digits stays the same until the year 2286.
	copy(buffer[t.time:], strconv.FormatInt(b.base+int64(n/perMillisecond), 10))
	return buffer
}
