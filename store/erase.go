package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"lumin-ingest/internal/redact"
)

// ErasureSubject is what, or who, is to be erased: signature requests, or all that
// mention an e-mail address. One of the two is set.
type ErasureSubject struct {
	SignatureRequestIDs []string
	Email               string
}

// Validate tells what is wrong with the subject.
func (s ErasureSubject) Validate() error {
	switch {
	case (len(s.SignatureRequestIDs) > 0) == (s.Email != ""):
		return errors.New("either signature requests or an e-mail address are to be erased: give one of them")
	case slices.Contains(s.SignatureRequestIDs, ""):
		return errors.New("an empty id names no signature request")
	case s.Email == "":
		return nil
	}
	local, domain, found := strings.Cut(s.address(), "@")
	if !found || local == "" || domain == "" || strings.ContainsAny(domain, "@ ") || strings.ContainsAny(local, " <>") {
		return errors.New("that is no e-mail address: write it as in somebody@example.com")
	}
	return nil
}

func (s ErasureSubject) name() string {
	if s.Email != "" {
		return "email"
	}
	return "signature_request"
}

// address is the e-mail address without the mailto: and parameters of a link.
func (s ErasureSubject) address() string {
	const scheme = "mailto:"
	address := strings.TrimSpace(s.Email)
	if len(address) < len(scheme) || !strings.EqualFold(address[:len(scheme)], scheme) {
		return address
	}
	address, _, _ = strings.Cut(address[len(scheme):], "?")
	if plain, err := url.PathUnescape(address); err == nil {
		address = plain
	}
	return address
}

// mentions are the words to search for in bodies. The domain of an address may be
// written in Unicode or in ASCII (punycode).
func (s ErasureSubject) mentions() (all []*mention) {
	if s.Email == "" {
		for _, id := range s.SignatureRequestIDs {
			all = append(all, newMention(id))
		}
		return all
	}
	spellings := []string{s.address()}
	local, domain, _ := strings.Cut(norm.NFC.String(s.address()), "@")
	for _, convert := range []func(string) (string, error){idna.Lookup.ToASCII, idna.Lookup.ToUnicode} {
		if other, err := convert(strings.ToLower(domain)); err == nil && other != "" {
			spellings = append(spellings, local+"@"+other)
		}
	}
	return []*mention{newMention(spellings...)}
}

// ErasurePlan is what an erasure would take, as of the time of planning. Events
// that are recorded later are not touched, save further copies of the same ones.
type ErasurePlan struct {
	Subject             string   `json:"subject"`               // signature_request or email
	SignatureRequestIDs []string `json:"signature_request_ids"` // all of whose events are erased
	EventIDs            []int64  `json:"event_ids"`             // of unrecognized events
	LastEventID         int64    `json:"last_event_id"`

	Events int64 `json:"events"` // whose identity stays
	Erased
	SignatureRequests int64 `json:"signature_requests"` // rows of lumin.signature_requests
}

// Erased counts what an erasure has taken, or would take.
type Erased struct {
	Bodies        int64 `json:"bodies"`
	Redeliveries  int64 `json:"redeliveries"` // bodies of redeliveries
	Errors        int64 `json:"errors"`       // runs and failures with error texts
	RunsCancelled int64 `json:"runs_cancelled"`
	Files         int64 `json:"files"` // archived ones
}

// Nothing reports whether there is nothing to erase.
func (p ErasurePlan) Nothing() bool { return p.Erased == (Erased{}) && p.SignatureRequests == 0 }

const planErasureSQL = `
WITH t AS MATERIALIZED (
    SELECT id, event_key, payload IS NOT NULL AS kept FROM lumin.events
    WHERE (signature_request_id = ANY ($1) OR id = ANY ($2)) AND id <= $3
)
SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM t WHERE kept),
       (SELECT count(*) FROM lumin.redeliveries d WHERE d.event_id IN (SELECT id FROM t) AND d.payload IS NOT NULL),
       (SELECT count(*) FROM lumin.runs r WHERE r.event_key IN (SELECT event_key FROM t) AND r.error IS NOT NULL)
       + (SELECT count(*) FROM lumin.failures f WHERE f.event_key IN (SELECT event_key FROM t) AND f.errors IS NOT NULL),
       (SELECT count(*) FROM lumin.runs r WHERE r.event_key IN (SELECT event_key FROM t) AND r.state IN ('pending', 'failed', 'dismissed')),
       (SELECT count(*) FROM lumin.archived_files a WHERE (a.signature_request_id = ANY ($1) OR a.event_key IN (SELECT event_key FROM t)) AND a.erasure_id IS NULL),
       (SELECT count(*) FROM lumin.signature_requests s WHERE s.signature_request_id = ANY ($1))`

// PlanErasure finds what there is to erase. For an e-mail address it reads every
// body: whatever mentions it is found by its signature request, and all of that
// goes, because its other events may hold the same person's name without the
// address. ErrNotFound if a signature request was never heard of.
func (s *Store) PlanErasure(ctx context.Context, subject ErasureSubject) (plan ErasurePlan, err error) {
	if err := subject.Validate(); err != nil {
		return plan, err
	}
	// What is being recorded at this moment belongs to it.
	if err := s.awaitRecordings(ctx); err != nil {
		return plan, fmt.Errorf("plan erasure: %w", err)
	}
	plan.Subject = subject.name()
	if err := s.pool.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM lumin.events`).Scan(&plan.LastEventID); err != nil {
		return plan, fmt.Errorf("plan erasure: %w", err)
	}
	found := &findings{requests: map[string]bool{}, unrecognized: map[int64]bool{}}
	for _, id := range subject.SignatureRequestIDs {
		found.requests[id] = true
	}
	if err := s.checkRequests(ctx, subject.SignatureRequestIDs); err != nil {
		return plan, err
	}
	for _, mention := range subject.mentions() {
		found.mention = mention
		if err := s.searchBodies(ctx, found, plan.LastEventID, subject.Email == ""); err != nil {
			return plan, fmt.Errorf("plan erasure: %w", err)
		}
	}
	plan.SignatureRequestIDs = sortedKeys(found.requests)
	plan.EventIDs = sortedKeys(found.unrecognized)
	err = s.pool.QueryRow(ctx, planErasureSQL, pgx.QueryExecModeCacheDescribe, plan.SignatureRequestIDs, plan.EventIDs, plan.LastEventID).
		Scan(&plan.Events, &plan.Bodies, &plan.Redeliveries, &plan.Errors, &plan.RunsCancelled, &plan.Files, &plan.SignatureRequests)
	if err != nil {
		return plan, fmt.Errorf("plan erasure: %w", err)
	}
	return plan, nil
}

func sortedKeys[K cmp.Ordered](set map[K]bool) []K {
	keys := make([]K, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func (s *Store) checkRequests(ctx context.Context, ids []string) error {
	var unknown []string
	err := s.pool.QueryRow(ctx, `
		SELECT ARRAY(
		    SELECT w.id FROM unnest($1::text[]) AS w (id)
		    WHERE NOT EXISTS (SELECT FROM lumin.events e WHERE e.signature_request_id = w.id)
		      AND NOT EXISTS (SELECT FROM lumin.signature_requests s WHERE s.signature_request_id = w.id)
		      AND NOT EXISTS (SELECT FROM lumin.archived_files a WHERE a.signature_request_id = w.id))`, nonNil(ids)).Scan(&unknown)
	if err != nil {
		return fmt.Errorf("look for signature requests: %w", err)
	}
	if len(unknown) > 0 {
		return fmt.Errorf("signature request %s: %w", strings.Join(unknown, ", "), ErrNotFound)
	}
	return nil
}

// findings are the places where something is mentioned.
type findings struct {
	mention      *mention
	requests     map[string]bool
	unrecognized map[int64]bool // events
}

// note looks at a text of an event, or of what is kept of a signature request.
func (f *findings) note(eventID int64, request *string, text []byte) {
	switch {
	case request != nil && f.requests[*request], request == nil && f.unrecognized[eventID]:
		// It is known already.
	case !f.mention.in(text):
	case request != nil:
		f.requests[*request] = true
	default:
		f.unrecognized[eventID] = true
	}
}

const (
	searchEventsSQL = `
SELECT e.id, e.signature_request_id, e.payload FROM lumin.events e
WHERE e.id > $1 AND e.id <= $2 AND e.payload IS NOT NULL AND (NOT $3 OR e.signature_request_id IS NULL)
ORDER BY e.id LIMIT 1000`

	searchRedeliveriesSQL = `
SELECT d.event_id, e.signature_request_id, d.payload
FROM lumin.redeliveries d JOIN lumin.events e ON e.id = d.event_id
WHERE d.event_id > $1 AND d.event_id <= $2 AND d.payload IS NOT NULL AND (NOT $3 OR e.signature_request_id IS NULL)
ORDER BY d.event_id FETCH FIRST 1000 ROWS WITH TIES`

	// Titles and reasons outlive the bodies that they come from.
	searchProjectionSQL = `
SELECT 0::bigint, s.signature_request_id, convert_to(concat_ws(' ', s.title, s.reason), 'UTF8')
FROM lumin.signature_requests s
WHERE s.signature_request_id > $1 AND NOT $2
ORDER BY s.signature_request_id LIMIT 1000`
)

// searchBodies goes through all that is kept, page by page, and holds one body at
// a time. For the sake of a signature request only unrecognized events need be
// searched: of all others it is known.
func (s *Store) searchBodies(ctx context.Context, f *findings, last int64, unrecognizedOnly bool) error {
	for _, sql := range []string{searchEventsSQL, searchRedeliveriesSQL} {
		for after, more := int64(0), true; more; {
			id, _, n, err := s.searchPage(ctx, f, sql, after, last, unrecognizedOnly)
			if err != nil {
				return err
			}
			after, more = id, n > 0
		}
	}
	for after, more := "", true; more; {
		_, request, n, err := s.searchPage(ctx, f, searchProjectionSQL, after, unrecognizedOnly)
		if err != nil {
			return err
		}
		after, more = request, n > 0
	}
	return nil
}

// searchPage looks at the texts of one page, and returns the last event and
// signature request, and how many texts there were.
func (s *Store) searchPage(ctx context.Context, f *findings, sql string, args ...any) (id int64, request string, n int, err error) {
	rows, err := s.pool.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err != nil {
		return 0, "", 0, fmt.Errorf("search: %w", err)
	}
	var (
		of   *string
		text pgtype.DriverBytes // of the connection, until the next row
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &of, &text}, func() error {
		n++
		if of != nil {
			request = *of
		}
		f.note(id, of, text)
		return nil
	})
	if err != nil {
		return 0, "", 0, fmt.Errorf("search: %w", err)
	}
	return id, request, n, nil
}

// recordingPatience is longer than a recording takes, which is given up after
// flushTimeout.
const recordingPatience = 15 * time.Second

// awaitRecordings waits until whoever is adding events at this moment has
// committed, or has not.
func (s *Store) awaitRecordings(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recordingPatience)
	defer cancel()
	open, err := s.recording(ctx)
	for err == nil && len(open) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("a transaction that adds events does not end (see pg_stat_activity): %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
		var now []string
		now, err = s.recording(ctx)
		open = slices.DeleteFunc(open, func(holder string) bool { return !slices.Contains(now, holder) })
	}
	return err
}

// Erasure is one row of lumin.erasures.
type Erasure struct {
	ID                  int64    `json:"id"`
	Subject             string   `json:"subject"`
	SignatureRequestIDs []string `json:"signature_request_ids"`
	EventIDs            []int64  `json:"event_ids"`
	LastEventID         int64    `json:"last_event_id"`
	Erased
	ErasedBy   string     `json:"erased_by"`
	Reason     string     `json:"reason"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"` // nil while something could still be left

	// FilesLeft are archived files that no program with their bucket has removed yet.
	FilesLeft int64 `json:"files_left"`
}

// OrderErasure writes down what is to be erased, by whom and why. From then on it
// is going to be, by [Store.Erase] or by a running worker's sweep. E-mail
// addresses are taken out of reason.
func (s *Store) OrderErasure(ctx context.Context, plan ErasurePlan, reason, by string) (id int64, err error) {
	err = s.pool.QueryRow(ctx, `
		INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason, erased_by)
		VALUES ($1, $2, $3, $4, $5, coalesce(nullif($6, ''), current_user)) RETURNING id`,
		plan.Subject, nonNil(plan.SignatureRequestIDs), plan.EventIDs, plan.LastEventID, redact.Text(reason), by).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("order erasure: %w", err)
	}
	return id, nil
}

// Erasure returns one erasure; ErrNotFound if there is none of that id.
func (s *Store) Erasure(ctx context.Context, id int64) (Erasure, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT id, subject, signature_request_ids, event_ids, last_event_id, bodies, redeliveries, errors, runs_cancelled, files,
		       erased_by, reason, created_at, finished_at, (SELECT count(*) FROM lumin.archived_files WHERE erasure_id = $1)
		FROM lumin.erasures WHERE id = $1`, id)
	if err != nil {
		return Erasure{}, fmt.Errorf("load erasure %d: %w", id, err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (e Erasure, err error) {
		return e, row.Scan(&e.ID, &e.Subject, &e.SignatureRequestIDs, &e.EventIDs, &e.LastEventID, &e.Bodies, &e.Redeliveries, &e.Errors,
			&e.RunsCancelled, &e.Files, &e.ErasedBy, &e.Reason, &e.CreatedAt, &e.FinishedAt, &e.FilesLeft)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Erasure{}, fmt.Errorf("erasure %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return Erasure{}, fmt.Errorf("load erasure %d: %w", id, err)
	}
	return e, nil
}
