package app

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"lumin-ingest/admin/window"
	"lumin-ingest/internal/advice"
	"lumin-ingest/store/replay"
)

// runFilter holds the flags that choose the runs a command acts on.
type runFilter struct {
	Kind             []string `help:"Only of these job types."`
	EventType        []string `placeholder:"TYPE" help:"Only of these event types, such as signature_request_approved or approved for short."`
	Source           []string `help:"Only of events that came from at least one of these sources: account, app:NAME or recovered."`
	SignatureRequest []string `sep:"none" placeholder:"ID" help:"Only of these signature requests. Repeat the flag for each."`
	Event            []int64  `placeholder:"ID" help:"Only of these events."`
	Error            []string `placeholder:"FINGERPRINT" help:"Only with these errors, by the fingerprints that \"failures\" shows."`
	timeRange
	AsOf when `placeholder:"TIME" help:"Only what was there at this time, which a plan shows: runs that end later and events that come later are left alone. The default is now."`
}

// asOfFlag names the flag with which a later command acts on the runs of a plan only.
func asOfFlag(plan window.Plan) string {
	if plan.AsOf == nil {
		return ""
	}
	return "; with --as-of " + plan.AsOf.UTC().Format(time.RFC3339Nano) + " what comes later is left alone"
}

// noChangeAsOf ends a dry run of a plan.
func noChangeAsOf(w io.Writer, plan window.Plan) error {
	_, err := fmt.Fprintln(w, "dry run: nothing changed"+asOfFlag(plan))
	return err
}

// checkEmptyLists refuses list flags with an empty value. A filter such as
// --kind "$KIND" with an unset variable would otherwise match all runs.
func checkEmptyLists(parsed *kong.Context) error {
	for _, element := range parsed.Path {
		if flag := element.Flag; flag != nil && flag.IsSlice() && flag.Target.Len() == 0 {
			return advice.Usage("--"+flag.Name+" is empty", "give it a value, or leave it out")
		}
	}
	return nil
}

// timeRange holds the flags for the time when events were received.
type timeRange struct {
	Since when `placeholder:"TIME" help:"Only of events received since then: a day such as 2006-01-02, a time as the tables print it, or how long ago: 24h, 7d."`
	Until when `placeholder:"TIME" help:"Only of events received before then."`
}

// checkTimes refuses an empty range and a range in the future.
func (r timeRange) checkTimes() error {
	if r.Since.at != nil && r.Until.at != nil && !r.Since.at.Before(*r.Until.at) {
		return advice.Usage("--until is not after --since", "swap the two")
	}
	return r.Since.checkPast()
}

// filter returns the filter that the flags make. It makes the checks that need
// no database.
func (f runFilter) filter(status replay.Status) (replay.Filter, error) {
	errors := make([]string, len(f.Error))
	for i, fingerprint := range f.Error {
		errors[i] = strings.ToLower(fingerprint)
	}
	filter := replay.Filter{
		Status: status, Kinds: f.Kind, EventTypes: f.EventType, Sources: f.Source, SignatureRequestIDs: f.SignatureRequest,
		EventIDs: f.Event, ErrorFingerprints: errors, ReceivedSince: f.Since.at, ReceivedUntil: f.Until.at, AsOf: f.AsOf.at,
	}
	if err := f.checkTimes(); err != nil {
		return filter, err
	}
	return filter, checkStoredSource(f.Source...)
}

// checkNames refuses names and ids in a filter that do not exist, and completes
// short event types. fingerprints returns the errors of all runs that the
// filter could choose; false if there are too many to read them all.
func checkNames(ctx context.Context, w operatorWindow, filter *replay.Filter, fingerprints func(context.Context) ([]string, bool, error)) error {
	if err := checkKinds(ctx, w, filter.Kinds); err != nil {
		return err
	}
	full, err := eventTypes(ctx, w, filter.EventTypes)
	if err != nil {
		return err
	}
	filter.EventTypes = full
	if err := checkSources(ctx, w, filter.Sources); err != nil {
		return err
	}
	if err := checkRequests(ctx, w, filter.SignatureRequestIDs); err != nil {
		return err
	}
	if err := checkEvents(ctx, w, filter.EventIDs); err != nil {
		return err
	}
	if len(filter.ErrorFingerprints) == 0 {
		return nil
	}
	known, all, err := fingerprints(ctx)
	if err != nil || !all {
		return err
	}
	return checkErrors(filter.ErrorFingerprints, known)
}

// checkPast refuses a time in the future, with a tolerance for clocks that
// differ.
func (w when) checkPast() error {
	const tolerated = time.Minute
	if w.at != nil && time.Until(*w.at) > tolerated {
		return advice.Usage("--since is in the future: "+w.at.Format(time.RFC3339), "give a time in the past; times without a zone are in UTC")
	}
	return nil
}
