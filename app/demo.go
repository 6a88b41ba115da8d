package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/service"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// demo sends deliveries to its own program, and shows the results.
type demo struct {
	out     io.Writer
	invoice demoInvoice
	rows    [][]string
}

func newDemo(out io.Writer) *demo {
	d := &demo{out: out, invoice: demoInvoice{broken: new(atomic.Bool)}}
	d.invoice.broken.Store(true)
	return d
}

// demoInvoice writes one invoice for each approved signature request, once it
// has been repaired.
type demoInvoice struct {
	worker.Defaults
	broken *atomic.Bool
}

// Kind implements worker.JobType.
func (demoInvoice) Kind() string { return "demo_invoice" }

// Events implements worker.JobType.
func (demoInvoice) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}

// MaxAttempts is 1: a demo does not wait for a retry.
func (demoInvoice) MaxAttempts() int { return 1 }

// WorkTx implements worker.Transactional.
func (j demoInvoice) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO lumin_demo.invoices (signature_request_id, event_key) VALUES ($1, $2)`,
		e.SignatureRequestID, e.Key.String())
	if err != nil {
		return err
	}
	if j.broken.Load() {
		return errors.New("the demo's invoice is broken on purpose; its row is rolled back")
	}
	return nil
}

// demoError ends dev.
type demoError struct{ error }

func (e *demoError) Error() string { return "demo: " + e.error.Error() }
func (e *demoError) Unwrap() error { return e.error }

// prepare makes the table of the demo's job type, and registers the job type.
func (d *demo) prepare(ctx context.Context, url string, registry *worker.Registry) error {
	conn, err := pgopen.Conn(ctx, url, pgopen.Options{Writes: true})
	if err != nil {
		return fmt.Errorf("connect for the demo: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `
		CREATE SCHEMA IF NOT EXISTS lumin_demo;
		CREATE TABLE IF NOT EXISTS lumin_demo.invoices (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			signature_request_id text NOT NULL,
			event_key uuid NOT NULL
		)`)
	if err != nil {
		return fmt.Errorf("make the demo's table: %w", err)
	}
	registry.AddTx(d.invoice)
	return registry.Err()
}

// run shows the whole demo in a running service.
func (d *demo) run(ctx context.Context, s *service.Service) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := waitFor(ctx, func() (bool, error) { return s.Working(ctx), nil }); err != nil {
		return err
	}
	request := sample.RandomHex(20)
	if err := d.deliver(ctx, "http://"+s.PublicAddr(), request); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "\nDeliveries")
	table(d.out, []string{"SENT", "ANSWER", "", "EVENT"}, d.rows)
	return d.work(ctx, s, request)
}

// deliver sends the signing scenario, a redelivery with a new token, and a
// delivery that must be refused.
func (d *demo) deliver(ctx context.Context, base, request string) error {
	account := &sender{endpoint: base + "/webhooks/account", key: sample.AccountKey, client: http.DefaultClient}
	app := &sender{endpoint: base + "/webhooks/apps/demo", key: sample.AppSecret, client: http.DefaultClient}

	start := time.Now()
	var last sample.Delivery
	for i, t := range signingScenario() {
		at := start.Add(time.Duration(i) * time.Second)
		what := string(t)
		if t == lumin.SignatureRequestApproved {
			at = last.At
			what += ", in the same millisecond"
		}
		last = sample.Delivery{EventType: t, SignatureRequestID: request, At: at}
		if err := d.send(ctx, account, what, last.Body()); err != nil {
			return err
		}
	}
	approved := sample.Delivery{EventType: lumin.SignatureRequestApproved, SignatureRequestID: request, At: start.Add(2 * time.Second)}
	if err := d.send(ctx, account, "approved again, under a new token", approved.Body()); err != nil {
		return err
	}
	if err := d.send(ctx, app, "approved as an app reports it", approved.Body()); err != nil {
		return err
	}
	body := approved.Body()
	altered := bytes.Replace(body, []byte("Sample"), []byte("Simple"), 1)
	got, err := account.sendSigned(ctx, altered, lumin.Sign(body, sample.AccountKey))
	d.note("approved with an altered byte", got)
	return err
}

func (d *demo) send(ctx context.Context, to *sender, what string, body []byte) error {
	got, err := to.send(ctx, body)
	d.note(what, got)
	return err
}

func (d *demo) note(what string, a answer) {
	d.rows = append(d.rows, []string{what, strconv.Itoa(a.status), a.outcome, a.eventID()})
}

// work waits for the runs, repairs the broken job type and replays it twice.
func (d *demo) work(ctx context.Context, s *service.Service, request string) error {
	failed := replay.Filter{Kinds: []string{d.invoice.Kind()}, SignatureRequestIDs: []string{request}}
	if err := d.waitSettled(ctx, s, request); err != nil {
		return err
	}
	before, err := d.invoices(ctx, s, request)
	if err != nil {
		return err
	}
	d.invoice.broken.Store(false)
	replayed, err := d.replayOnce(ctx, s, failed)
	if err != nil {
		return err
	}
	after, err := d.invoices(ctx, s, request)
	if err != nil {
		return err
	}
	again, err := d.replayOnce(ctx, s, failed)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n%s failed and left %d invoices. Repaired and replayed: %d run, %d invoice. A second replay: %d runs, nothing to do.\n",
		d.invoice.Kind(), before, replayed, after, again)
	return d.jobTypes(ctx, s, request)
}

// replayOnce places a replay order and waits until its runs are settled. It
// returns how many there were.
func (d *demo) replayOnce(ctx context.Context, s *service.Service, filter replay.Filter) (runs int64, err error) {
	replays := replay.New(s.Store())
	id, err := replays.Place(ctx, replay.NewOrder{Filter: filter, Reason: "demo"})
	if err != nil {
		return 0, err
	}
	err = waitFor(ctx, func() (bool, error) {
		order, err := replays.Get(ctx, id)
		if err == nil && order.State == "refused" {
			err = fmt.Errorf("replay %d was refused: %s", id, order.Error)
		}
		runs = order.Enqueued
		return order.State == "done", err
	})
	if err != nil {
		return 0, err
	}
	return runs, d.waitSettled(ctx, s, filter.SignatureRequestIDs[0])
}

// waitSettled waits for the runs of the demo's own job type. Other job types
// may be slow, or fail and be retried for hours.
func (d *demo) waitSettled(ctx context.Context, s *service.Service, request string) error {
	return waitFor(ctx, func() (bool, error) { return settled(ctx, s, request, d.invoice.Kind()) })
}

// settled reports whether no run of a signature request is pending: of one job
// type, or of any for "".
func settled(ctx context.Context, s *service.Service, request, kind string) (bool, error) {
	events, err := s.Store().ListEvents(ctx, store.EventFilter{SignatureRequestID: request, Limit: 100})
	if err != nil {
		return false, err
	}
	for _, e := range events {
		details, err := s.Store().ShowEvent(ctx, e.ID)
		if err != nil {
			return false, err
		}
		for _, r := range details.RunsByKind {
			if r.State == "pending" && (kind == "" || r.Kind == kind) {
				return false, nil
			}
		}
	}
	return true, nil
}

func waitFor(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (d *demo) invoices(ctx context.Context, s *service.Service, request string) (n int, err error) {
	err = s.Store().Pool().QueryRow(ctx, `SELECT count(*) FROM lumin_demo.invoices WHERE signature_request_id = $1`, request).Scan(&n)
	return n, err
}

// othersTimeout bounds the wait for job types that are not the demo's own. Runs
// that are still pending then are shown as pending.
const othersTimeout = 5 * time.Second

func (d *demo) jobTypes(ctx context.Context, s *service.Service, request string) error {
	soon, cancel := context.WithTimeout(ctx, othersTimeout)
	defer cancel()
	err := waitFor(soon, func() (bool, error) { return settled(soon, s, request, "") })
	if err != nil && soon.Err() == nil {
		return err
	}
	counts, err := s.Store().RunCounts(ctx)
	if err != nil {
		return err
	}
	headings, rows := []string{"KIND", "STATE", "RUNS"}, make([][]string, len(counts))
	for i, n := range counts {
		rows[i] = []string{n.Kind, n.State, strconv.FormatInt(n.Runs, 10)}
		if n.Error != "" {
			headings = []string{"KIND", "STATE", "RUNS", "ERROR, SUCH AS"}
			rows[i] = append(rows[i], errorCell(n.Error))
		}
	}
	fmt.Fprintln(d.out, "\nJob types")
	table(d.out, headings, rows)
	return nil
}
