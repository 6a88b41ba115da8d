package worker

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Registry holds the job types of a program. Fill it before it is used; it is
// not safe to add to afterwards.
type Registry struct {
	types map[string]registered
	errs  []error
}

// registered is a job type with one of its two ways to work.
type registered struct {
	JobType
	plain         Plain
	transactional Transactional
}

// NewRegistry returns an empty Registry.
func NewRegistry() *Registry {
	return &Registry{types: map[string]registered{}}
}

// Add registers a job type that works outside a transaction. What is wrong with
// it is told by [Registry.Err], which every program asks at its start.
func (r *Registry) Add(t Plain) { r.add(registered{JobType: t, plain: t}) }

// AddTx registers a job type that works in a transaction.
func (r *Registry) AddTx(t Transactional) { r.add(registered{JobType: t, transactional: t}) }

// kindPattern is what River takes for a kind, less what reads badly in commands
// and metrics.
var kindPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{1,126}$`)

// internalPrefix marks the kinds of our own jobs that are no job types.
const internalPrefix = "lumin_"

func (r *Registry) add(t registered) {
	kind := t.Kind()
	refuse := func(format string, args ...any) {
		r.errs = append(r.errs, fmt.Errorf("job type %q (%T): %s", kind, t.JobType, fmt.Sprintf(format, args...)))
	}
	other, taken := r.types[kind]
	switch {
	case !kindPattern.MatchString(kind):
		refuse("Kind must be 2 to 127 letters, digits, _ or -, beginning with a letter")
	case strings.HasPrefix(kind, internalPrefix):
		refuse("kinds that begin with %s are kept for the program itself: choose another", internalPrefix)
	case taken:
		refuse("Kind is taken by %T: a kind is stored with every run, so each job type needs its own", other.JobType)
	case len(t.Events()) == 0:
		refuse("Events is empty, so it would never run: name event types, or lumin.AnyEvent")
	case t.MaxAttempts() < 1 || t.MaxAttempts() > 32767:
		refuse("MaxAttempts is %d: give 1 to 32767", t.MaxAttempts())
	case t.Priority() < 1 || t.Priority() > 4:
		refuse("Priority is %d: give 1 to 4", t.Priority())
	case t.Timeout() <= 0:
		refuse("Timeout is %s: give a positive duration", t.Timeout())
	case t.Queue() == internalQueue || t.Queue() == "":
		refuse("Queue is %q: choose another name", t.Queue())
	default:
		r.types[kind] = t
	}
}

// Err tells what is wrong with the job types that were added.
func (r *Registry) Err() error { return errors.Join(r.errs...) }

// Kinds lists the registered kinds in alphabetical order.
func (r *Registry) Kinds() []string { return slices.Sorted(maps.Keys(r.types)) }

// Route tells which jobs an event of this type from this source is for.
func (r *Registry) Route(source string, event lumin.EventType) []store.JobSpec {
	var specs []store.JobSpec
	for _, kind := range r.Kinds() {
		t := r.types[kind]
		wantsEvent := slices.Contains(t.Events(), event) || slices.Contains(t.Events(), lumin.AnyEvent)
		wantsSource := len(t.Sources()) == 0 || slices.Contains(t.Sources(), source)
		if wantsEvent && wantsSource {
			specs = append(specs, t.spec())
		}
	}
	return specs
}

// Queues lists the queues that the registered job types wait in.
func (r *Registry) Queues() []string {
	var queues []string
	for _, t := range r.types {
		queues = append(queues, t.Queue())
	}
	slices.Sort(queues)
	return slices.Compact(queues)
}

// specs tells how to enqueue each registered kind.
func (r *Registry) specs() map[string]store.JobSpec {
	specs := make(map[string]store.JobSpec, len(r.types))
	for kind, t := range r.types {
		specs[kind] = t.spec()
	}
	return specs
}

func (t registered) spec() store.JobSpec {
	return store.JobSpec{Kind: t.Kind(), Queue: t.Queue(), MaxAttempts: t.MaxAttempts(), Priority: t.Priority()}
}

// rows describes the registered job types for lumin.job_types.
func (r *Registry) rows() []store.JobType {
	rows := make([]store.JobType, 0, len(r.types))
	for _, kind := range r.Kinds() {
		t := r.types[kind]
		row := store.JobType{Kind: kind, Sources: t.Sources(), Transactional: t.transactional != nil, Queue: t.Queue()}
		if !slices.Contains(t.Events(), lumin.AnyEvent) {
			for _, e := range t.Events() {
				row.Events = append(row.Events, string(e))
			}
		}
		rows = append(rows, row)
	}
	return rows
}
