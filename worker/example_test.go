package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// BookRevenue writes one row for each approved signature request.
type BookRevenue struct{ worker.Defaults }

func (BookRevenue) Kind() string { return "book_revenue" }

func (BookRevenue) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}

func (BookRevenue) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO shop.revenue (signature_request_id) VALUES ($1)`, e.SignatureRequestID)
	return err
}

// NotifyCRM tells another system, which may hear of an event twice.
type NotifyCRM struct {
	worker.Defaults
	Client *http.Client
}

func (NotifyCRM) Kind() string              { return "notify_crm" }
func (NotifyCRM) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (NotifyCRM) Sources() []string         { return []string{"app:crm"} }
func (NotifyCRM) Queue() string             { return "slow" }
func (NotifyCRM) Timeout() time.Duration    { return 30 * time.Second }

func (n NotifyCRM) Work(ctx context.Context, e *store.Event) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://crm.example/events", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Idempotency-Key", e.Key.String())
	response, err := n.Client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusGone:
		return river.JobCancel(errors.New("the CRM does not want this event any more"))
	case http.StatusTooManyRequests:
		return river.JobSnooze(time.Minute)
	default:
		return fmt.Errorf("the CRM answered %s", response.Status)
	}
}

func ExampleRegistry() {
	registry := worker.NewRegistry()
	registry.AddTx(BookRevenue{})
	registry.Add(NotifyCRM{Client: http.DefaultClient})
	registry.Add(NotifyCRM{})
	fmt.Println(registry.Err())

	for _, job := range registry.Route("app:crm", lumin.SignatureRequestApproved) {
		fmt.Printf("%s waits in queue %s\n", job.Kind, job.Queue)
	}
	// Output:
	// job type "notify_crm" (worker_test.NotifyCRM): Kind is taken by worker_test.NotifyCRM: a kind is stored with every run, so each job type needs its own
	// book_revenue waits in queue default
	// notify_crm waits in queue slow
}

// From a delivery to its effect.
func ExampleRuntime() {
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	server, err := pgdev.Start(ctx, pgdev.Config{}) // any PostgreSQL will do
	check(err)
	defer server.Close()
	check(migrations.Up(ctx, server.URL()))
	pool, err := pgxpool.New(ctx, server.URL())
	check(err)
	defer pool.Close()
	_, err = pool.Exec(ctx, `CREATE SCHEMA shop; CREATE TABLE shop.revenue (signature_request_id text)`)
	check(err)

	registry := worker.NewRegistry()
	registry.AddTx(BookRevenue{})
	logger := slog.New(slog.DiscardHandler)
	s, err := store.New(pool, logger)
	check(err)
	runtime, err := worker.New(worker.Config{Store: s, Registry: registry, Logger: logger})
	check(err)
	check(runtime.Start(ctx))

	// What the ingest side does with a verified delivery.
	body := []byte(`{"event":{"event_time":1694664207595,"event_type":"signature_request_approved"},"signature_request":{"signature_request_id":"fa5c8a0b"}}`)
	envelope, err := lumin.DecodeEnvelope(body)
	check(err)
	recorder := store.NewRecorder(s, logger, nil)
	_, err = recorder.Record(ctx, store.Delivery{
		Source: "account", Envelope: &envelope, Payload: body, Signature: make([]byte, 32), KeyID: "example", ReceivedAt: time.Now(),
		Jobs: registry.Route("account", envelope.EventType),
	})
	check(err)
	recorder.Close()

	for pending := 1; pending > 0; {
		check(pool.QueryRow(ctx, `SELECT count(*) FROM lumin.runs WHERE state = 'pending'`).Scan(&pending))
	}
	check(runtime.Stop(ctx))
	var request string
	check(pool.QueryRow(ctx, `SELECT signature_request_id FROM shop.revenue`).Scan(&request))
	fmt.Println("booked", request)
	// Output: booked fa5c8a0b
}
