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

func (BookRevenue) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO shop.revenue (signature_request_id) VALUES ($1)`, e.SignatureRequestID)
	return err
}

// NotifyCRM notifies another system, which may receive an event twice.
type NotifyCRM struct {
	worker.Defaults
	Client *http.Client
}

func (NotifyCRM) Kind() string              { return "notify_crm" }
func (NotifyCRM) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (NotifyCRM) Sources() []string         { return []string{"app:crm"} }
func (NotifyCRM) Queue() string             { return "slow" }
func (NotifyCRM) Timeout() time.Duration    { return 30 * time.Second }

func (n NotifyCRM) Work(ctx context.Context, e *worker.Event) error {
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
	// job type "notify_crm" (worker_test.NotifyCRM): Kind is taken by worker_test.NotifyCRM: kinds are stored with runs and jobs, so each needs its own
	// book_revenue waits in queue default
	// notify_crm waits in queue slow
}

// NumberSteps numbers the events of each signature request.
type NumberSteps struct{ worker.Defaults }

func (NumberSteps) Kind() string              { return "number_steps" }
func (NumberSteps) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

func (NumberSteps) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO shop.steps (signature_request_id, step, event_type)
		SELECT $1, count(*) + 1, $2 FROM shop.steps WHERE signature_request_id = $1`, e.SignatureRequestID, e.Type)
	return err
}

// WhenFailed goes on with the next event if one has failed for good.
func (NumberSteps) WhenFailed() worker.LanePolicy { return worker.SkipFailed }

func ExampleRegistry_AddOrdered() {
	registry := worker.NewRegistry()
	registry.AddOrdered(NumberSteps{})
	fmt.Println(registry.Kinds(), registry.Err(), NumberSteps{}.WhenFailed())
	// Output: [number_steps] <nil> skip
}

// This example follows an event from its delivery to its effect.
func ExampleRuntime() {
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	server, err := pgdev.Start(ctx, pgdev.Config{}) // any PostgreSQL server works
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

	// The ingest side does this with a verified delivery.
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

// RemindArgs identify a row of shop.revenue.
type RemindArgs struct {
	SignatureRequestID string `json:"signature_request_id"`
}

// Kind implements river.JobArgs.
func (RemindArgs) Kind() string { return "remind" }

// Remind sends a reminder.
type Remind struct {
	river.WorkerDefaults[RemindArgs]
}

func (Remind) Work(_ context.Context, job *river.Job[RemindArgs]) error {
	fmt.Println("reminded of", job.Args.SignatureRequestID)
	return nil
}

// BookAndRemind writes a row, and enqueues a reminder that is sent after the
// commit.
type BookAndRemind struct{ BookRevenue }

func (BookAndRemind) Kind() string { return "book_and_remind" }

func (b BookAndRemind) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	if err := b.BookRevenue.WorkTx(ctx, tx, e); err != nil {
		return err
	}
	_, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, RemindArgs{e.SignatureRequestID}, nil)
	return err
}

func ExampleAddFollowUp() {
	registry := worker.NewRegistry()
	registry.AddTx(BookAndRemind{})
	worker.AddFollowUp(registry, Remind{})
	worker.AddFollowUp(registry, Remind{})
	fmt.Println(registry.Err())
	// Output:
	// follow-up job "remind" (worker_test.Remind): Kind is taken by worker_test.Remind: kinds are stored with runs and jobs, so each needs its own
}

func ExampleRegistry_AddPeriodic() {
	registry := worker.NewRegistry()
	registry.AddPeriodic(worker.Periodic{
		Kind: "close_books", Every: 24 * time.Hour, Timeout: time.Minute,
		Work: func(context.Context) error { return nil },
	})
	registry.AddPeriodic(worker.Periodic{Kind: "hurry", Every: time.Millisecond, Timeout: time.Minute})
	fmt.Println(registry.Err())
	// Output:
	// periodic job "hurry": Every is 1ms: give at least a second
}

// A request that the CRM will never accept fails at once: the cause must be
// fixed first.
func ExampleJobFail() {
	answered := func(status int) error {
		err := fmt.Errorf("the CRM answered %d", status)
		if status == http.StatusBadRequest {
			return worker.JobFail(err)
		}
		return err // tried again
	}
	fmt.Println(answered(http.StatusBadRequest))
	fmt.Println(answered(http.StatusBadGateway))
	// Output:
	// the CRM answered 400
	// the CRM answered 502
}

// In a job type, each line automatically has event_id, kind and attempt.
func ExampleLogger() {
	work := func(ctx context.Context, _ *worker.Event) error {
		worker.Logger(ctx).Info("booked", "rows", 1)
		return nil
	}
	fmt.Println(work(context.Background(), nil)) // here it is slog.Default
	// Output: <nil>
}
