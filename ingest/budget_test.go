package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// The budget is charged for at least the size of the buffers at every moment.
func TestReadAll(t *testing.T) {
	t.Parallel()
	b := &budget{limit: MinBodyMemory}
	for _, size := range []int{0, 1, 700, 1024, firstBuffer - 1, firstBuffer, firstBuffer + 1, freeBuffer, freeBuffer + 1, 100_000, maxBody - 1, maxBody} {
		want := bytes.Repeat([]byte{byte(size)}, size)
		for how, reader := range map[string]io.Reader{
			"at once": bytes.NewReader(want), "with the end": iotest.DataErrReader(bytes.NewReader(want)),
			"in halves": iotest.HalfReader(bytes.NewReader(want)),
		} {
			length := int64(size) // or unknown, or wrong: only net/http ensures that it is right
			switch how {
			case "in halves":
				length = -1
			case "with the end":
				length = int64(size / 2)
			}
			body, held, err := readAll(reader, length, b)
			if err != nil || !bytes.Equal(body, want) {
				t.Fatalf("%d bytes, %s: read %d, %v", size, how, len(body), err)
			}
			if held != b.used.Load() || (cap(body) > freeBuffer && held != int64(cap(body))) {
				t.Errorf("%d bytes, %s: %d held for a capacity of %d; %d taken", size, how, held, cap(body), b.used.Load())
			}
			if length == int64(size) && size > 0 && size < firstBuffer && cap(body) > 2*size {
				t.Errorf("%d bytes, as promised: a buffer of %d", size, cap(body))
			}
			// net/http may return io.EOF with the last bytes.
			if size <= freeBuffer && how == "with the end" && held != 0 {
				t.Errorf("%d bytes: %d held", size, held)
			}
			b.give(held)
			b.recycle(body)
		}
	}
}

// A Content-Length reserves no memory. Only received bytes use memory.
func TestContentLengthReservesNothing(t *testing.T) {
	t.Parallel()
	b := &budget{limit: MinBodyMemory}
	request := newPost("/webhooks/account", documentedBody[:100], accountSignature)
	request.ContentLength = maxBody
	request.Body = io.NopCloser(io.MultiReader(request.Body, iotest.ErrReader(io.ErrUnexpectedEOF)))
	body, held, err := readBody(httptest.NewRecorder(), request, b)
	if !errors.Is(err, errBodyIncomplete) || held != 0 || cap(body) > firstBuffer {
		t.Errorf("%d held, capacity %d, %v", held, cap(body), err)
	}
}

// The buffer of a refused body is reused. The buffer of a recorded body never
// is.
func TestRecordedBodiesAreNotReused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	want := bodyOfSize(3000)
	r.postAccount(want)
	for range 100 {
		r.post("/webhooks/account", strings.Repeat("x", 3000), accountSignature)
	}
	if got := r.deliveries(); len(got) != 1 || string(got[0].Payload) != want {
		t.Error("a recorded body was overwritten")
	}
}

// Large bodies that do not end use up the budget. The next large one is refused
// immediately, and small ones pass. All memory is available again when the
// connections end.
func TestBodyMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(cfg *Config) { cfg.MaxBodyMemory = MinBodyMemory })
	address := serve(t, r, defaultTimeouts)
	head := fmt.Sprintf("POST /webhooks/account HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\nContent-Length: %d\r\n\r\n", accountSignature, maxBody)
	var holding []net.Conn
	for range 3 { // a fourth needs 1.5 MiB while it is copied from one buffer to the next
		holding = append(holding, dial(t, address, head+strings.Repeat("x", maxBody-1)))
	}
	used := func() float64 { return r.metric("lumin_body_memory_bytes") }
	wait.Until(t, "the bodies fill the budget", func() bool { return used() == 3*maxBody })
	response := readResponse(t, dial(t, address, head+strings.Repeat("x", 600_000)))
	wantProblem(t, response, 503, "too_many_bodies")
	if !response.Close {
		t.Error("the connection stays open in the middle of a request")
	}
	if got := r.metric("lumin_deliveries_total", "source=account", "result=unavailable", "reason=too_many_bodies"); got != 1 {
		t.Errorf("counted %v", got)
	}
	small := bodyOfSize(freeBuffer)
	for range 10 {
		if status := postTo(t, address, small); status != 200 {
			t.Errorf("a small delivery was answered %d", status)
		}
	}
	for _, conn := range holding {
		conn.Close()
	}
	wait.Until(t, "the memory is released", func() bool { return used() == 0 })
	if status := postTo(t, address, bodyOfSize(maxBody)); status != 200 {
		t.Errorf("afterwards a large delivery was answered %d", status)
	}
}

// The budget is charged for a body until it is recorded or refused.
func TestBodyMemoryWhileRecording(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	body := bodyOfSize(100_000)
	var during float64
	for name, record := range map[string]func(context.Context, store.Delivery) (store.Receipt, error){
		"recorded": func(context.Context, store.Delivery) (store.Receipt, error) {
			return store.Receipt{EventID: 17, Status: store.Recorded}, nil
		},
		"refused": func(context.Context, store.Delivery) (store.Receipt, error) {
			return store.Receipt{}, store.ErrUnavailable
		},
		"panic": func(context.Context, store.Delivery) (store.Receipt, error) { panic("broken") },
	} {
		r.record = func(ctx context.Context, d store.Delivery) (store.Receipt, error) {
			during = r.metric("lumin_body_memory_bytes")
			return record(ctx, d)
		}
		r.postAccount(body)
		if after := r.metric("lumin_body_memory_bytes"); during < 100_000 || after != 0 {
			t.Errorf("%s: %v bytes while recording, %v afterwards", name, during, after)
		}
	}
	r.post("/webhooks/account", body, accountSignature) // not authentic
	if after := r.metric("lumin_body_memory_bytes"); after != 0 {
		t.Errorf("%v bytes after a mismatch", after)
	}
}

func TestBodyMemorySetting(t *testing.T) {
	t.Parallel()
	for limit, valid := range map[int64]bool{0: true, MinBodyMemory: true, MinBodyMemory - 1: false, -1: false} {
		_, err := New(Config{
			Sources: map[string]*lumin.Keyring{"account": newKeyring(t, accountKey)}, MaxBodyMemory: limit, Logger: newRig(t).logger,
			Record: func(context.Context, store.Delivery) (store.Receipt, error) { return store.Receipt{}, nil },
			Route:  func(string, lumin.EventType) []store.JobSpec { return nil },
		})
		if (err == nil) != valid {
			t.Errorf("%d bytes: %v", limit, err)
		}
	}
}

// Valid deliveries are answered while 500 connections hold as much memory as
// they can.
func TestValidDeliveriesDuringAFlood(t *testing.T) {
	t.Parallel()
	const connections = 500
	r := newRig(t, func(cfg *Config) { cfg.MaxBodyMemory = 8 << 20 })
	address := serve(t, r, defaultTimeouts)
	head := fmt.Sprintf("POST /webhooks/account HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", maxBody)
	flood := []byte(head + strings.Repeat("x", maxBody-1))
	var senders sync.WaitGroup
	for range connections {
		conn := dial(t, address, "")
		senders.Go(func() { _, _ = conn.Write(flood) }) // fails when it was refused
	}
	wait.Until(t, "most of the flood is refused", func() bool {
		return r.metric("lumin_deliveries_total", "source=account", "result=unavailable", "reason=too_many_bodies") > connections*3/4
	})
	for i := range 50 {
		start := time.Now()
		if status := postTo(t, address, bodyAt(documentedTime.Add(time.Duration(i)*time.Millisecond))); status != 200 {
			t.Errorf("answered %d", status)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("answered after %v", took)
		}
	}
	if used := r.metric("lumin_body_memory_bytes"); used > 8<<20 {
		t.Errorf("%v bytes are used", used)
	}
	senders.Wait()
}

// postTo delivers a signed body on a new connection. It returns the status, or
// 0 without a response.
func postTo(t *testing.T, address, body string) int {
	t.Helper()
	conn := dial(t, address, fmt.Sprintf("POST /webhooks/account HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
		lumin.Sign([]byte(body), accountKey), len(body), body))
	defer conn.Close()
	return readResponse(t, conn).StatusCode
}
