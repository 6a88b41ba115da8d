package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
)

// Registry holds the job types of a program. Add all of them before the
// Registry is used: adding is not safe for concurrent use.
type Registry struct {
	types     map[string]registered
	kinds     []string // in alphabetical order
	followUps map[string]followUp
	periodic  map[string]Periodic
	errs      []error
}

// registered is a job type with its settings at the time when it was added.
// Either plain or transactional is set.
type registered struct {
	JobType
	plain         Plain
	transactional Transactional
	batch         Batch       // nil unless transactional is a single
	limits        BatchLimits // of batch
	ordered       bool
	whenFailed    LanePolicy // if ordered

	spec    store.JobSpec
	events  []lumin.EventType
	sources []string
	timeout time.Duration

	recovered bool // it handles recovered events
}

// NewRegistry returns an empty Registry.
func NewRegistry() *Registry {
	return &Registry{types: map[string]registered{}, followUps: map[string]followUp{}, periodic: map[string]Periodic{}}
}

// Add registers a job type that works outside a transaction. It reads the
// settings once; only Backoff is called again later. [Registry.Err] reports an
// invalid job type, and every program checks it when it starts.
func (r *Registry) Add(t Plain) { r.add(registered{JobType: t, plain: t}) }

// AddTx registers a job type that works in a transaction; see [Registry.Add].
func (r *Registry) AddTx(t Transactional) { r.add(registered{JobType: t, transactional: t}) }

var (
	// kindPattern matches the kinds that River accepts, without those that are
	// hard to read in commands and metrics.
	kindPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{1,126}$`)

	// queuePattern is River's pattern. Its limit of 64 characters is checked
	// separately.
	queuePattern = regexp.MustCompile(`^[a-z0-9]+([_-]?[a-z0-9]+)*$`)
)

const (
	maxQueueLength = 64

	// InternalPrefix begins the kinds of the internal jobs: replays, erasures,
	// retention, the sweep, and those that wake lanes.
	InternalPrefix = "lumin_"
)

func (r *Registry) add(t registered) {
	if isNil(t.JobType) {
		r.errs = append(r.errs, fmt.Errorf("job type %T is nil: add a value", t.JobType))
		return
	}
	t.spec = store.JobSpec{Kind: t.Kind(), Queue: t.Queue(), MaxAttempts: t.MaxAttempts(), Priority: t.Priority()}
	if t.batch != nil {
		t.spec.Queue = ownQueue(t.spec.Kind, t.spec.Queue)
	}
	t.events, t.sources, t.timeout = slices.Clone(t.Events()), slices.Clone(t.Sources()), t.Timeout()
	t.recovered = t.Recovered()
	if problem := r.problem(t); problem != "" {
		r.errs = append(r.errs, fmt.Errorf("job type %q (%T): %s", t.spec.Kind, t.JobType, problem))
		return
	}
	r.types[t.spec.Kind] = t
	r.kinds = slices.Sorted(maps.Keys(r.types))
}

// kindProblem returns why a kind cannot be registered, or "" if it can.
func (r *Registry) kindProblem(kind string) string {
	var other any
	if t, taken := r.types[kind]; taken {
		other = t.JobType
	} else if f, taken := r.followUps[kind]; taken {
		other = f.worker
	} else if p, taken := r.periodic[kind]; taken {
		other = p
	}
	switch {
	case !kindPattern.MatchString(kind):
		return "Kind must be 2 to 127 letters, digits, _ or -, beginning with a letter"
	case strings.HasPrefix(strings.ToLower(kind), InternalPrefix):
		return fmt.Sprintf("kinds that begin with %s are reserved for the program itself: choose another", InternalPrefix)
	case other != nil:
		return fmt.Sprintf("Kind is taken by %T: kinds are stored with runs and jobs, so each needs its own", other)
	}
	return ""
}

// problem returns why a job type cannot be registered, or "" if it can.
func (r *Registry) problem(t registered) string {
	queue := t.spec.Queue
	if problem := r.kindProblem(t.spec.Kind); problem != "" {
		return problem
	}
	switch {
	case len(t.events) == 0:
		return "Events is empty, so it would never run: name event types, or lumin.AnyEvent"
	case slices.Contains(t.events, ""):
		return "Events contains an empty event type: remove it"
	case t.spec.MaxAttempts < 1 || t.spec.MaxAttempts > 32767:
		return fmt.Sprintf("MaxAttempts is %d: give 1 to 32767", t.spec.MaxAttempts)
	case t.spec.Priority < 1 || t.spec.Priority > 4:
		return fmt.Sprintf("Priority is %d: give 1 to 4", t.spec.Priority)
	case t.timeout <= 0:
		return fmt.Sprintf("Timeout is %s: give a positive duration", t.timeout)
	}
	if problem := cmp.Or(queueProblem(queue), r.sharedQueueProblem(queue, t.batch != nil), t.limits.problem(), t.policyProblem()); problem != "" {
		return problem
	}
	for _, source := range t.sources {
		if !store.ValidSource(source) {
			return fmt.Sprintf("Sources contains %q, which is not a source: give account or app:NAME", source)
		}
	}
	return ""
}

// queueProblem returns why a queue cannot have this name, or "" if it can.
func queueProblem(queue string) string {
	switch {
	case queue == replayQueue || queue == periodicQueue:
		return fmt.Sprintf("Queue %q is reserved for the program itself: choose another", queue)
	case len(queue) > maxQueueLength || !queuePattern.MatchString(queue):
		return fmt.Sprintf("Queue is %q: give at most %d lower-case letters and digits, in words joined by _ or -", queue, maxQueueLength)
	}
	return ""
}

// isNil reports whether t is nil or a nil pointer.
func isNil(t any) bool {
	if t == nil {
		return true
	}
	v := reflect.ValueOf(t)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// Err returns an error that describes everything invalid that was added. It is
// nil if all is valid.
func (r *Registry) Err() error { return errors.Join(r.errs...) }

// Kinds lists the registered kinds in alphabetical order.
func (r *Registry) Kinds() []string { return slices.Clone(r.kinds) }

// Route returns the jobs to enqueue for an event of this type from this source.
func (r *Registry) Route(source string, event lumin.EventType) []store.JobSpec {
	var specs []store.JobSpec
	for _, kind := range r.kinds {
		t := r.types[kind]
		handlesEvent := slices.Contains(t.events, event) || slices.Contains(t.events, lumin.AnyEvent)
		if handlesEvent && t.handlesSource(source) {
			specs = append(specs, t.spec)
		}
	}
	return specs
}

// handlesSource reports whether a job type subscribes to events of a source. The
// real source of a recovered event is not known.
func (t registered) handlesSource(source string) bool {
	if source == store.RecoveredSource {
		return t.recovered
	}
	return len(t.sources) == 0 || slices.Contains(t.sources, source)
}

// Sources returns the sources that job types name, each with the kinds of these
// job types.
func (r *Registry) Sources() map[string][]string {
	sources := map[string][]string{}
	for _, kind := range r.kinds {
		for _, source := range r.types[kind].sources {
			sources[source] = append(sources[source], kind)
		}
	}
	return sources
}

// Queues lists the queues of the registered job types and follow-up jobs.
func (r *Registry) Queues() []string {
	var queues []string
	for _, t := range r.types {
		queues = append(queues, t.queues()...)
	}
	for _, f := range r.followUps {
		queues = append(queues, f.queue)
	}
	slices.Sort(queues)
	return slices.Compact(queues)
}

// kindsByQueue lists the registered kinds of each queue.
func (r *Registry) kindsByQueue() map[string][]string {
	kinds := map[string][]string{}
	for kind, t := range r.types {
		for _, queue := range t.queues() {
			kinds[queue] = append(kinds[queue], kind)
		}
	}
	for kind, f := range r.followUps {
		kinds[f.queue] = append(kinds[f.queue], kind)
	}
	for kind := range r.periodic {
		kinds[periodicQueue] = append(kinds[periodicQueue], kind)
	}
	return kinds
}

// OtherKinds lists the kinds of follow-up jobs and periodic jobs, sorted.
func (r *Registry) OtherKinds() []string {
	kinds := slices.AppendSeq(slices.Collect(maps.Keys(r.followUps)), maps.Keys(r.periodic))
	slices.Sort(kinds)
	return kinds
}

// others describes the follow-up jobs and periodic jobs for lumin.other_kinds.
func (r *Registry) others() (kinds []catalog.OtherKind) {
	for kind, f := range r.followUps {
		kinds = append(kinds, catalog.OtherKind{Kind: kind, Purpose: catalog.FollowUp, Queue: f.queue})
	}
	for kind := range r.periodic {
		kinds = append(kinds, catalog.OtherKind{Kind: kind, Purpose: catalog.Periodic, Queue: periodicQueue})
	}
	return kinds
}

// transactionalQueues lists the queues of transactional job types that do not
// work batches.
func (r *Registry) transactionalQueues() (queues []string) {
	for _, t := range r.types {
		if t.transactional != nil && t.batch == nil {
			queues = append(queues, t.spec.Queue)
		}
	}
	slices.Sort(queues)
	return slices.Compact(queues)
}

// attemptMargin is how much longer than its timeout an attempt may take, until
// its connection is closed.
const attemptMargin = 15 * time.Second

// LongestAttempt returns the longest time that a transaction of a job type may
// wait for the job type's code. A session that waits longer belongs to a
// program that has died.
func (r *Registry) LongestAttempt() time.Duration {
	longest := Defaults{}.Timeout()
	for _, t := range r.types {
		longest = max(longest, t.timeout)
	}
	return longest + attemptMargin
}

// specs returns how to enqueue each registered kind.
func (r *Registry) specs() map[string]store.JobSpec {
	specs := make(map[string]store.JobSpec, len(r.types))
	for kind, t := range r.types {
		specs[kind] = t.spec
	}
	return specs
}

// orderedKinds lists the kinds of the ordered job types.
func (r *Registry) orderedKinds() (kinds []string) {
	for kind, t := range r.types {
		if t.ordered {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// Register stores the job types in lumin.job_types, where replays and operators
// find them. It logs a warning if other programs have registered job types that
// this one does not know. [Runtime.Start] calls it. A program that only
// receives must call it itself.
func (r *Registry) Register(ctx context.Context, st *store.Store, logger *slog.Logger) error {
	unknown, err := catalog.AddJobTypes(ctx, st.Pool(), r.rows())
	if err != nil {
		return err
	}
	// No guarantee depends on these, so the program works without them.
	if err := catalog.AddOtherKinds(ctx, st.Pool(), r.others()); err != nil {
		logger.Warn("cannot record the kinds of follow-up and periodic jobs: doctor will report them as not registered", "reason", err.Error())
	}
	if len(unknown) > 0 {
		logger.Warn("this program does not know some job types that other programs have registered: "+
			"it creates no runs for them, and their jobs wait for a program that knows them",
			"kinds", unknown)
	}
	return nil
}

// rows describes the registered job types for lumin.job_types.
func (r *Registry) rows() []catalog.JobType {
	rows := make([]catalog.JobType, 0, len(r.kinds))
	for _, kind := range r.kinds {
		t := r.types[kind]
		row := catalog.JobType{
			Kind: kind, Sources: t.sources, Transactional: t.transactional != nil,
			Queue: t.spec.Queue, MaxAttempts: t.spec.MaxAttempts, Priority: t.spec.Priority,
			RefusesRecovered: !t.recovered,
		}
		if t.ordered {
			row.WhenFailed = t.whenFailed.String()
		}
		if !slices.Contains(t.events, lumin.AnyEvent) {
			for _, e := range t.events {
				row.Events = append(row.Events, string(e))
			}
		}
		rows = append(rows, row)
	}
	return rows
}
