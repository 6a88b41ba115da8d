//go:build unix

package faults

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// Sources that the clients sign for, and their secrets.
const (
	accountSource = "account"
	appSource     = "app:demo"
)

// senders bounds the deliveries in flight. Each is repeated until it is
// answered 200, so their number does not grow in an outage.
const senders = 32

// clients send deliveries as Lumin does. Each delivery is repeated until it is
// answered 200, and a fifth of them are sent again later.
type clients struct {
	ledger *Ledger
	http   *http.Client
	urls   func() []string // addresses that receive deliveries at the moment
	seed   uint64
	rate   atomic.Int64           // new events per second
	acked  atomic.Pointer[func()] // called after each 200; nil calls nothing
	eased  atomic.Bool            // no new events, only repeated deliveries
	once   bool                   // an acknowledged delivery is never sent again

	mu     sync.Mutex
	later  []redelivery
	bodies [][]byte         // of events that are to be sent next
	events []lumin.EventKey // acknowledged ones
}

// redelivery is an acknowledged delivery that will be sent again.
type redelivery struct {
	due time.Time
	d   *Delivery
}

func newClients(ledger *Ledger, seed uint64, rate int, urls func() []string) *clients {
	c := &clients{
		ledger: ledger, seed: seed, urls: urls,
		// A little less than Lumin's 30 s, so that a run ends in time.
		http: &http.Client{Timeout: 28 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: senders}},
	}
	c.rate.Store(int64(rate))
	return c
}

// run sends new events until sending ends. It then completes the deliveries
// that it has begun, unless ctx ends first.
func (c *clients) run(ctx, sending context.Context) {
	defer c.http.CloseIdleConnections()
	turns := make(chan struct{})
	var all sync.WaitGroup
	for n := range senders {
		rng := rand.New(rand.NewPCG(c.seed, uint64(n)+1))
		all.Go(func() {
			for range turns {
				c.turn(ctx, rng)
			}
			for d := c.due(time.Time{}); d != nil; d = c.due(time.Time{}) {
				c.deliver(ctx, rng, d)
			}
		})
	}
	rate := c.rate.Load()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for sending.Err() == nil {
		select {
		case <-sending.Done():
		case <-tick.C:
			if now := c.rate.Load(); now != rate {
				rate = now
				tick.Reset(time.Second / time.Duration(rate))
			}
			select {
			case turns <- struct{}{}:
			default: // all senders are busy repeating
			}
		}
	}
	close(turns)
	all.Wait()
}

// turn sends a redelivery if one is due, and a new event otherwise, unless the
// load is eased.
func (c *clients) turn(ctx context.Context, rng *rand.Rand) {
	if d := c.due(time.Now()); d != nil {
		c.deliver(ctx, rng, d)
		return
	}
	if c.eased.Load() {
		return
	}
	body := c.body(rng)
	envelope, err := lumin.DecodeEnvelope(body)
	if err != nil {
		panic(err) // package sample makes valid deliveries
	}
	sources := [][]string{{accountSource}, {appSource}, {accountSource, appSource}}[rng.IntN(3)]
	if rng.IntN(50) == 0 {
		c.try(ctx, rng.IntN(2), &Delivery{Key: envelope.Key(), Source: sources[0], Body: body, Forged: true})
		return
	}
	again := rng.IntN(5) == 0 && !c.once
	for _, source := range sources {
		d := &Delivery{Key: envelope.Key(), Source: source, Body: body}
		send := c.deliver
		if rng.IntN(10) == 0 && !c.once {
			send = c.deliverTwice
		}
		if !send(ctx, rng, d) {
			return
		}
		if again {
			c.redeliver(d, time.Duration(rng.Int64N(int64(20*time.Second))))
		}
	}
	c.mu.Lock()
	c.events = append(c.events, envelope.Key())
	c.mu.Unlock()
}

// body returns the body of a new event. One in six begins a signature request of
// three to six events, which follow each other in any order, through any sender.
// Two of its events can have the same time.
func (c *clients) body(rng *rand.Rand) []byte {
	types := []lumin.EventType{lumin.SignatureRequestSigned, lumin.SignatureRequestApproved, lumin.SignatureRequestDeclined, lumin.SignatureRequestCanceled}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.bodies) == 0 {
		count := 1
		if rng.IntN(6) == 0 {
			count = 3 + rng.IntN(4)
		}
		request, now, first := randomHex(rng, 20), time.Now(), rng.IntN(len(types))
		for n := range count {
			c.bodies = append(c.bodies, sample.Delivery{
				EventType: types[(first+n)%len(types)], SignatureRequestID: request, At: now.Add(time.Duration(n/2) * time.Millisecond), Token: randomHex(rng, 8),
			}.Body())
		}
		rng.Shuffle(count, func(i, j int) { c.bodies[i], c.bodies[j] = c.bodies[j], c.bodies[i] })
	}
	body := c.bodies[0]
	c.bodies = c.bodies[1:]
	return body
}

// randomHex returns n bytes, which the seed decides, in hexadecimal digits.
func randomHex(rng *rand.Rand, n int) string {
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	return hex.EncodeToString(raw)
}

// deliver repeats a delivery until it is answered 200. It alternates between
// the processes, as a load balancer would.
func (c *clients) deliver(ctx context.Context, rng *rand.Rand, d *Delivery) bool {
	for n := rng.IntN(2); ctx.Err() == nil; n++ {
		if c.try(ctx, n, d) == http.StatusOK {
			return true
		}
		pause(ctx, 100*time.Millisecond+time.Duration(rng.Int64N(int64(200*time.Millisecond))))
	}
	return false
}

// deliverTwice sends a delivery and, at the same time, once more, like a sender
// that gave up waiting too early.
func (c *clients) deliverTwice(ctx context.Context, rng *rand.Rand, d *Delivery) bool {
	other := rand.New(rand.NewPCG(rng.Uint64(), 0))
	var second sync.WaitGroup
	second.Go(func() { c.deliver(ctx, other, d) })
	defer second.Wait()
	return c.deliver(ctx, rng, d)
}

// try makes one attempt and returns the status of the answer. 0 means no
// answer.
func (c *clients) try(ctx context.Context, n int, d *Delivery) int {
	urls := c.urls()
	if len(urls) == 0 {
		return 0
	}
	path, secret := "/webhooks/account", accountKey
	if d.Source == appSource {
		path, secret = "/webhooks/apps/demo", appSecret
	}
	if d.Forged {
		secret = "a key that is not configured"
	}
	sent := time.Now()
	attempt := c.ledger.attempt(d, sent)
	url := urls[n%len(urls)]
	a := c.post(ctx, url+path, d.Body, lumin.Sign(d.Body, secret))
	a.url = url
	c.ledger.answered(d, attempt, sent, time.Now(), a)
	if do := c.acked.Load(); do != nil && a.status == http.StatusOK {
		(*do)()
	}
	return a.status
}

func (c *clients) post(ctx context.Context, url string, body []byte, signature string) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer{}
	}
	request.Header.Set(lumin.SignatureHeader, signature)
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{} // Lumin treats half an answer as none
	}
	var said struct {
		ID   int64  `json:"id"`
		Code string `json:"code"`
	}
	_ = json.Unmarshal(content, &said) // a 200 without an id is reported
	return answer{status: response.StatusCode, id: said.ID, code: said.Code}
}

func (c *clients) redeliver(d *Delivery, after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later = append(c.later, redelivery{time.Now().Add(after), d})
}

// due takes a redelivery that is due at a time. With the zero time it takes
// any.
func (c *clients) due(now time.Time) *Delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.later, func(r redelivery) bool { return now.IsZero() || r.due.Before(now) })
	if at < 0 {
		return nil
	}
	d := c.later[at].d
	c.later = slices.Delete(c.later, at, at+1)
	return d
}

// some returns up to n acknowledged events.
func (c *clients) some(rng *rand.Rand, n int) []lumin.EventKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	var keys []lumin.EventKey
	for range min(n, len(c.events)) {
		keys = append(keys, c.events[rng.IntN(len(c.events))])
	}
	return keys
}

// latest returns the up to n events that were acknowledged last.
func (c *clients) latest(n int) []lumin.EventKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events[max(0, len(c.events)-n):])
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
