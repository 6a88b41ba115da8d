package app

import (
	"context"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"lumin-ingest/store"
)

// runFilter holds the flags that narrow down which runs a command acts on.
type runFilter struct {
	Kind             []string `help:"Only of these job types."`
	EventType        []string `placeholder:"TYPE" help:"Only of these event types of Lumin's, such as signature_request_approved or just approved."`
	Source           []string `help:"Only of events that came from these sources, perhaps among others: account or app:NAME."`
	SignatureRequest []string `sep:"none" placeholder:"ID" help:"Only of these signature requests; repeat it for each."`
	Event            []int64  `placeholder:"ID" help:"Only of these events."`
	Error            []string `placeholder:"FINGERPRINT" help:"Only with these errors, as \"failures\" groups them."`
	timeRange
}

// refuseEmptyLists refuses flags for several values that were given none. A filter
// such as --kind "$KIND", whose variable is not set, would otherwise match all runs.
func refuseEmptyLists(parsed *kong.Context) error {
	for _, element := range parsed.Path {
		if flag := element.Flag; flag != nil && flag.IsSlice() && flag.Target.Len() == 0 {
			return usage("--"+flag.Name+" is empty", "give it a value, or leave it out")
		}
	}
	return nil
}

// timeRange holds the flags of when events were received.
type timeRange struct {
	Since when `placeholder:"TIME" help:"Only of events received since then: a day such as 2006-01-02, a time as the tables print it, or how long ago: 24h, 7d."`
	Until when `placeholder:"TIME" help:"Only of events received before then."`
}

// check refuses a range that contains no time, or only times to come.
func (r timeRange) check() error {
	if r.Since.at != nil && r.Until.at != nil && !r.Since.at.Before(*r.Until.at) {
		return usage("--until is not after --since", "exchange them")
	}
	return r.Since.checkPast()
}

// filter is what the flags ask for, as far as they can be judged without the
// database.
func (f runFilter) filter(status store.ReplayStatus) (store.ReplayFilter, error) {
	errors := make([]string, len(f.Error))
	for i, fingerprint := range f.Error {
		errors[i] = strings.ToLower(fingerprint)
	}
	filter := store.ReplayFilter{
		Status: status, Kinds: f.Kind, EventTypes: f.EventType, Sources: f.Source, SignatureRequestIDs: f.SignatureRequest,
		EventIDs: f.Event, ErrorFingerprints: errors, ReceivedSince: f.Since.at, ReceivedUntil: f.Until.at,
	}
	if err := f.check(); err != nil {
		return filter, err
	}
	return filter, checkSource(f.Source...)
}

// checkNames refuses names and ids in a filter that do not exist, and completes short
// event types. fingerprints lists the errors of the runs that are chosen among.
func checkNames(ctx context.Context, st *store.Store, filter *store.ReplayFilter, fingerprints func(context.Context) ([]string, error)) error {
	if err := checkKinds(ctx, st, filter.Kinds); err != nil {
		return err
	}
	full, err := eventTypes(ctx, st, filter.EventTypes)
	if err != nil {
		return err
	}
	filter.EventTypes = full
	if err := checkSources(ctx, st, filter.Sources); err != nil {
		return err
	}
	if err := checkRequests(ctx, st, filter.SignatureRequestIDs); err != nil {
		return err
	}
	if err := checkEvents(ctx, st, filter.EventIDs); err != nil {
		return err
	}
	if len(filter.ErrorFingerprints) == 0 {
		return nil
	}
	known, err := fingerprints(ctx)
	if err != nil {
		return err
	}
	return checkErrors(filter.ErrorFingerprints, known)
}

// checkPast refuses a time that has not come yet, up to what clocks may differ by.
func (w when) checkPast() error {
	const tolerated = time.Minute
	if w.at != nil && time.Until(*w.at) > tolerated {
		return usage("--since is in the future: "+w.at.Format(time.RFC3339), "give a time that is over; times without a zone are in UTC")
	}
	return nil
}
