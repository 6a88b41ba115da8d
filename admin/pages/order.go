package pages

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// What can be done with runs.
const (
	doReplay  = "replay"
	doDismiss = "dismiss"
	doRestore = "restore"
	doCancel  = "cancel"
)

// order is an action on the runs of a filter, as the address of its plan and the
// form hold it: /plan?do=replay&status=failed&kind=book&error=... Every other page
// links to such an address.
type order struct {
	Do     string
	Filter replay.Filter
	Back   string // path of the page that asked
}

// parseOrder reads an order.
func parseOrder(v url.Values) (o order, err error) {
	o.Do, o.Back = v.Get("do"), localPath(v.Get("back"))
	o.Filter = replay.Filter{
		Status: replay.Status(v.Get("status")), Kinds: given(v["kind"]), ErrorFingerprints: given(v["error"]),
		EventTypes: given(v["type"]), Sources: given(v["source"]), SignatureRequestIDs: given(v["request"]),
	}
	for _, text := range given(v["event"]) {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return o, badRequest("An event's id is a number.")
		}
		o.Filter.EventIDs = append(o.Filter.EventIDs, id)
	}
	for name, at := range map[string]**time.Time{"since": &o.Filter.ReceivedSince, "until": &o.Filter.ReceivedUntil, "as_of": &o.Filter.AsOf} {
		if *at, err = timeField(v.Get(name)); err != nil {
			return o, err
		}
	}
	return o, o.check()
}

func (o order) check() error {
	switch {
	case o.Do == doReplay:
	case o.Do == doDismiss && (o.Filter.Status == "" || o.Filter.Status == replay.Failed || o.Filter.Status == replay.Late):
	case o.Do == doRestore && (o.Filter.Status == "" || o.Filter.Status == replay.Failed):
	case o.Do == doCancel && o.Filter.Status == replay.Retrying:
	default:
		return badRequest("This action does not exist for these runs.")
	}
	f := o.Filter
	if o.Do == doRestore {
		f.Status = "" // all dismissed runs are too many to restore at once
	}
	if err := f.Validate(); err != nil {
		return badRequest(capitalized(err.Error()) + ".")
	}
	return nil
}

// given returns the values that are not empty.
func given(values []string) (list []string) {
	for _, value := range values {
		if value != "" {
			list = append(list, value)
		}
	}
	return list
}

// fields returns the hidden fields of the form of an order.
func (o order) fields() (list []field) {
	add := func(name string, values ...string) {
		for _, value := range given(values) {
			list = append(list, field{name, value})
		}
	}
	f := o.Filter
	add("do", o.Do)
	add("back", o.Back)
	add("status", string(f.Status))
	add("kind", f.Kinds...)
	add("error", f.ErrorFingerprints...)
	add("type", f.EventTypes...)
	add("source", f.Sources...)
	add("request", f.SignatureRequestIDs...)
	for _, id := range f.EventIDs {
		add("event", strconv.FormatInt(id, 10))
	}
	for name, at := range map[string]*time.Time{"since": f.ReceivedSince, "until": f.ReceivedUntil, "as_of": f.AsOf} {
		if at != nil {
			add(name, at.Format(time.RFC3339Nano))
		}
	}
	return list
}

// plan shows what an order would do.
func (p *Pages) plan(c echo.Context) error {
	query, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return badRequest("A part of it cannot be read.")
	}
	o, err := parseOrder(query)
	if err != nil {
		return err
	}
	exactly := query.Get("exactly") != ""
	plan, left, err := p.countRuns(c.Request().Context(), o, exactly)
	if err != nil {
		return err
	}
	o.Filter.AsOf = &plan.AsOf
	facts, err := p.factsOf(c.Request().Context(), o)
	if err != nil {
		return err
	}
	a := confirmation{
		Title: o.title(), Section: "/failures", Back: link{"Back", o.Back},
		Points: append(o.points(), "Runs that end and events that arrive after this plan are left alone."), Facts: facts, Plan: &plan,
		Path: "/plan", Fields: o.fields(), Action: o.action(plan),
		Danger:      o.Do == doDismiss || o.Do == doCancel || o.Filter.Status == replay.Succeeded,
		Works:       o.Do == doReplay,
		NeedsReason: o.Do == doDismiss || o.Do == doCancel,
		AsksRate:    o.Do == doReplay && (!plan.Exact || plan.Runs() >= 100),
	}
	if left.Bodiless > 0 {
		a.Points = append(a.Points, capitalized(plural(left.Bodiless, "run is", "runs are"))+" left out: the body of the event has been removed.")
	}
	if left.Dismissed > 0 {
		a.Points = append(a.Points, plural(left.Dismissed, "dismissed run matches too, and is", "dismissed runs match too, and are")+" left out. Restore them first to replay them.")
	}
	if plan.Empty() {
		a.Nothing = o.nothing(left)
	}
	if !plan.Exact && !exactly {
		query.Set("exactly", "1")
		query.Set("as_of", plan.AsOf.Format(time.RFC3339Nano))
		a.Exactly = "/plan?" + query.Encode()
	}
	return p.confirm(c, a)
}

// countRuns counts the runs that an order would change.
func (p *Pages) countRuns(ctx context.Context, o order, exactly bool) (plan replay.Plan, left replay.Excluded, err error) {
	plans := p.replays.Glance()
	if exactly {
		plans = p.replays
	}
	if o.Do == doRestore {
		return plans.PlanRestore(ctx, o.Filter)
	}
	plan, err = plans.Plan(ctx, o.Filter)
	o.Filter.AsOf = &plan.AsOf
	if err == nil && o.Do == doReplay && (plan.Empty() || len(o.Filter.EventIDs)+len(o.Filter.SignatureRequestIDs) > 0) {
		left, err = plans.Excluded(ctx, o.Filter)
	}
	return plan, left, err
}

// verb is what the action is called.
func (o order) verb() string {
	return map[string]string{doReplay: "replay", doDismiss: "dismiss", doRestore: "restore", doCancel: "cancel"}[o.Do]
}

// runs is what the action is about.
func (o order) runs() string {
	switch {
	case o.Do == doRestore:
		return "dismissed runs"
	case o.Filter.Status == "":
		return "failed runs"
	case o.Filter.Status == replay.Unrecognized, o.Filter.Status == replay.Late:
		return string(o.Filter.Status) + " events"
	}
	return string(o.Filter.Status) + " runs"
}

func (o order) title() string {
	title := capitalized(o.verb()) + " " + o.runs()
	if len(o.Filter.Kinds) == 1 {
		title += " of " + o.Filter.Kinds[0]
	}
	return title
}

// points says what the action does.
func (o order) points() []string {
	switch {
	case o.Do == doDismiss && o.Filter.Status == replay.Late:
		return []string{
			"Dismissed late events no longer wait for a decision, and no job type runs. They stay in the list of late events.",
			"Each job type gets a dismissed run. A run that is restored counts as failed, and can be replayed.",
		}
	case o.Do == doDismiss:
		return []string{
			"Dismissed runs leave the list of failures. Replays skip them, and retention removes their events.",
			"They can be restored while their event is stored.",
		}
	case o.Do == doRestore:
		return []string{"Restored runs are failed again, with their errors. They can be replayed then."}
	case o.Do == doCancel:
		return []string{
			"Runs that wait for their next attempt are cancelled, and no further attempt is made.",
			"An attempt that is running goes on. Cancelled runs can be replayed.",
		}
	}
	switch o.Filter.Status {
	case replay.Succeeded:
		return []string{"These runs have taken effect. Each takes effect once more."}
	case replay.Retrying:
		return []string{"The next attempt is made now."}
	case replay.Missing:
		return []string{"Each event gets the run that it lacks, the oldest event first."}
	case replay.Late:
		return []string{
			"These events were older than MAX_EVENT_AGE when they arrived, so no job type has run. Each event gets its runs now, the oldest event first.",
			"Check first that no one has done by hand what the job types do.",
		}
	case replay.Unrecognized:
		return []string{"The bodies are decoded again. An event that has an identity now is stored, and gets its runs."}
	}
	return []string{
		"The oldest event comes first. A transactional job type takes effect at most once for each event, however often it is replayed.",
		"A replay can be cancelled while it runs. Runs whose job has not started then get their former state back.",
	}
}

const fingerprintFact = "Error fingerprint"

// facts names the filter.
func (o order) facts() (list []fact) {
	add := func(name string, values []string) {
		if len(values) > 0 {
			list = append(list, fact{Name: name, Text: strings.Join(values, ", ")})
		}
	}
	f := o.Filter
	add("Job type", f.Kinds)
	add(fingerprintFact, f.ErrorFingerprints)
	add("Event type", f.EventTypes)
	add("Source", f.Sources)
	for _, id := range f.SignatureRequestIDs {
		list = append(list, fact{Name: "Signature request", Text: id, Path: requestPath(id)})
	}
	for _, id := range f.EventIDs {
		text := strconv.FormatInt(id, 10)
		list = append(list, fact{Name: "Event", Text: text, Path: "/events/" + text})
	}
	bound := func(name string, at *time.Time) {
		if at != nil {
			add(name, []string{at.UTC().Format("2006-01-02 15:04:05")})
		}
	}
	bound("Received since", f.ReceivedSince)
	bound("Received until", f.ReceivedUntil)
	bound("As of", f.AsOf)
	return list
}

// errorsNamed is how many error fingerprints a plan explains.
const errorsNamed = 5

// factsOf names the filter, with an error of each fingerprint if a run has it.
func (p *Pages) factsOf(ctx context.Context, o order) ([]fact, error) {
	state := o.Filter.Status.RunState()
	if o.Do == doRestore {
		state = "dismissed"
	}
	list := o.facts()
	at := 1 + slices.IndexFunc(list, func(f fact) bool { return f.Name == fingerprintFact })
	for _, fingerprint := range o.Filter.ErrorFingerprints[:min(len(o.Filter.ErrorFingerprints), errorsNamed)] {
		text, err := p.cfg.Store.StoredError(ctx, state, fingerprint)
		if err != nil {
			return nil, err
		}
		if text != "" {
			list = slices.Insert(list, at, fact{Name: "Error, such as", Text: text, Error: true})
			at++
		}
	}
	return list, nil
}

// action is the text of the button, with the number of runs.
func (o order) action(plan replay.Plan) string {
	one, many := "run", "runs"
	if o.Filter.Status == replay.Unrecognized {
		one, many = "event", "events"
	}
	number := plural(plan.Runs(), one, many)
	if !plan.Exact {
		number = "about " + number
	}
	return capitalized(o.verb()) + " " + number
}

// carryOut does what an order says.
func (p *Pages) carryOut(c echo.Context, by operate.Actor, reason string) error {
	o, err := parseOrder(c.Request().PostForm) // without the query, which the plan did not show
	if err != nil {
		return err
	}
	if o.Do == doReplay {
		return p.placeReplay(c, by, o, reason)
	}
	if o.Do != doRestore && reason == "" {
		return badForm("This needs a reason. Go back and give one.")
	}
	ctx, cancel := actionContext(c)
	defer cancel()
	act := map[string]func() (int64, error){
		doDismiss: func() (int64, error) { return p.cfg.Operator.Dismiss(ctx, by, o.Filter, reason) },
		doRestore: func() (int64, error) { return p.cfg.Operator.Restore(ctx, by, o.Filter, reason) },
		doCancel:  func() (int64, error) { return p.cfg.Operator.CancelRuns(ctx, by, o.Filter, reason) },
	}
	runs, err := act[o.Do]()
	past := map[string]string{doDismiss: "dismissed", doRestore: "restored", doCancel: "cancelled"}[o.Do]
	switch {
	case ctx.Err() != nil:
		return doneInPart(c, fmt.Sprintf("%s %s so far. The time for one request is used up: repeat the action for the rest.", plural(runs, "run", "runs"), past), o.Back)
	case err != nil:
		return err
	}
	return done(c, plural(runs, "run", "runs")+" "+past+".", o.Back)
}

// placeReplay orders a replay, and goes to its page.
func (p *Pages) placeReplay(c echo.Context, by operate.Actor, o order, reason string) error {
	n := replay.NewOrder{Filter: o.Filter, Reason: reason, Token: formOf(c).mark}
	if text := strings.TrimSpace(c.FormValue("rate")); text != "" {
		rate, err := strconv.ParseInt(text, 10, 32) // as the database stores it
		if err != nil || rate < 1 {
			return badForm("The rate is a number of runs a second, from 1 to 2147483647.")
		}
		n.Rate = int(rate)
	}
	placed := func(id int64, text string) error {
		return done(c, text, path(fmt.Sprintf("/replays/%d", id), "back", backOf(o)))
	}
	id, found, err := p.replays.Placed(c.Request().Context(), n.Token)
	if err == nil && !found {
		id, err = p.cfg.Operator.Replay(c.Request().Context(), by, n)
	}
	switch {
	case found:
		return placed(id, "This form was sent before, and had ordered this replay, with the reason that it had then. Nothing more was ordered now.")
	case errors.Is(err, replay.ErrNoFilter), errors.Is(err, replay.ErrTimeRange):
		return badRequest(capitalized(err.Error()) + ".")
	case err != nil:
		return err
	}
	return placed(id, "The replay is ordered. A running worker carries it out.")
}

// backOf returns the page that an order came from; empty for the overview.
func backOf(o order) string {
	if o.Back == "/" {
		return ""
	}
	return o.Back
}
