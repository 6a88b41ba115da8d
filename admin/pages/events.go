package pages

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
)

// eventsShown is how many events a page lists.
const eventsShown = 50

// unrecognizedState and lateState are choices of the state filter that no run has.
const (
	unrecognizedState = "unrecognized"
	lateState         = "late"
)

// eventsData is what events.html shows.
type eventsData struct {
	Form    eventsForm
	States  []string
	Kinds   []string
	Types   []string
	Sources []string

	Events  []eventLine
	Newest  string // path of the first page; empty on it
	Older   string // path of the next page; empty on the last
	Stopped bool   // the page ended because it had looked at enough
	Limit   int
}

// eventsForm are the filters as they are in the address.
type eventsForm struct {
	ID, State, Kind, Type, Source, Request, Error, Since, Until string
}

// Filtered reports whether any filter is set.
func (f eventsForm) Filtered() bool { return f != eventsForm{} }

// eventLine is one event with its runs.
type eventLine struct {
	store.EventSummary
	Lines []store.RunLine
}

// events lists events.
func (p *Pages) events(c echo.Context) error {
	data := eventsData{Form: eventsForm{
		ID: clean(c, "id"), State: clean(c, "state"), Kind: clean(c, "kind"), Type: clean(c, "type"), Source: clean(c, "source"),
		Request: clean(c, "request"), Error: clean(c, "error"), Since: clean(c, "since"), Until: clean(c, "until"),
	}, States: append(store.SearchStates(), unrecognizedState, lateState), Limit: eventsShown}
	search, err := data.Form.search()
	if err != nil {
		return err
	}
	from, err := positionOf(c.QueryParam("from"))
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	page, err := p.cfg.Store.Search(ctx, search, from, eventsShown)
	if err != nil {
		return err
	}
	if data.Events, err = p.withLines(c, page.Events); err != nil {
		return err
	}
	data.Stopped = page.Stopped
	if page.Next != nil {
		data.Older = data.Form.path(encodePosition(*page.Next))
	}
	if c.QueryParam("from") != "" {
		data.Newest = data.Form.path("")
	}
	if data.Types, data.Sources, err = p.cfg.Store.Choices(ctx); err != nil {
		return err
	}
	if data.Kinds, err = catalog.Kinds(ctx, p.cfg.Store.Pool()); err != nil {
		return err
	}
	data.Types, data.Sources = with(data.Types, data.Form.Type), with(data.Sources, data.Form.Source)
	data.Kinds, data.States = with(data.Kinds, data.Form.Kind), with(data.States, data.Form.State)
	return p.show(c, "events", view{Title: "Events", Section: "/events", Data: data})
}

// withLines adds their runs to events.
func (p *Pages) withLines(c echo.Context, events []store.EventSummary) ([]eventLine, error) {
	keys := make([]string, len(events))
	for i, e := range events {
		keys[i] = e.Key
	}
	runs, err := p.cfg.Store.RunLines(c.Request().Context(), keys)
	lines := make([]eventLine, len(events))
	for i, e := range events {
		lines[i] = eventLine{e, runs[e.Key]}
	}
	return lines, err
}

// search is the search of the filters. The error is a [problem].
func (f eventsForm) search() (s store.Search, err error) {
	s = store.Search{
		ID: strings.TrimSpace(f.ID), State: f.State, Kind: f.Kind, Fingerprint: f.Error,
		Source: f.Source, EventType: f.Type, SignatureRequestID: f.Request,
	}
	switch {
	case s.State == unrecognizedState:
		s.State, s.Unrecognized = "", true
	case s.State == lateState:
		s.State, s.Late = "", true
	case s.State != "" && !slices.Contains(store.SearchStates(), s.State):
		return s, badRequest("There is no state of this name. Choose another state.")
	}
	if s.ReceivedSince, err = timeField(f.Since); err != nil {
		return s, err
	}
	s.ReceivedUntil, err = timeField(f.Until)
	return s, err
}

// path is the address of a page with these filters.
func (f eventsForm) path(from string) string {
	return path("/events", "id", f.ID, "state", f.State, "kind", f.Kind, "type", f.Type, "source", f.Source,
		"request", f.Request, "error", f.Error, "since", f.Since, "until", f.Until, "from", from)
}

// Late reports whether the filters choose late events only.
func (f eventsForm) Late() bool { return f.State == lateState }

// Actions are the plans of what can be done with all runs that the filters choose. A
// plan cannot choose runs by the beginning of an id.
func (f eventsForm) Actions() []link {
	if f.ID != "" {
		return nil
	}
	replay := link{"Replay…", f.plan(doReplay)}
	switch f.State {
	case "failed":
		return []link{replay, {"Dismiss…", f.plan(doDismiss)}}
	case "retrying":
		return []link{{"Retry now…", f.plan(doReplay)}, {"Cancel…", f.plan(doCancel)}}
	case "cancelled":
		return []link{replay}
	case "dismissed":
		if f.narrows() {
			return []link{{"Restore…", f.plan(doRestore)}}
		}
	case unrecognizedState:
		if f.Kind+f.Type+f.Request+f.Error == "" {
			return []link{replay}
		}
	case lateState:
		// One that waits has no run, so none of a job type or with an error.
		if f.Kind+f.Error == "" {
			return []link{replay, {"Dismiss…", f.plan(doDismiss)}}
		}
	}
	return nil
}

// narrows reports whether a filter besides the state is set.
func (f eventsForm) narrows() bool {
	return f.Kind+f.Type+f.Source+f.Request+f.Error+f.Since+f.Until != ""
}

// plan is the address of the plan of an action on all runs that match.
func (f eventsForm) plan(do string) string {
	bound := func(text string) string {
		if at, err := timeField(text); err == nil && at != nil {
			return at.Format(time.RFC3339Nano)
		}
		return ""
	}
	status := f.State
	if do == doRestore {
		status = "" // it chooses dismissed runs only
	}
	return path("/plan", "do", do, "status", status, "kind", f.Kind, "error", f.Error, "type", f.Type, "source", f.Source,
		"request", f.Request, "since", bound(f.Since), "until", bound(f.Until), "back", f.path(""))
}

// timeField reads a time in UTC, as browsers send it or in RFC 3339. Empty is nil.
func timeField(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // documented
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() > 0 && t.Year() < 10000 {
			return &t, nil
		}
	}
	return nil, badRequest("A time has the form 2026-01-31T14:05, in UTC.")
}

// clean is a parameter of the address, without what no text of the database has.
func clean(c echo.Context, name string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(c.QueryParam(name), ""), "\x00", "")
}

// with adds the chosen value to the values to choose from.
func with(values []string, chosen string) []string {
	if chosen == "" || slices.Contains(values, chosen) {
		return values
	}
	return append(values, chosen)
}

func encodePosition(at store.SearchPosition) string {
	text, err := json.Marshal(at)
	if err != nil {
		return "" // impossible: it has a time, numbers and texts
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// positionOf reads a position from an address. Empty is the first page.
func positionOf(text string) (at store.SearchPosition, err error) {
	if text == "" {
		return at, nil
	}
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(decoded, &at)
	}
	if err != nil || strings.ContainsRune(at.Kind+at.Request, 0) {
		return at, badRequest("It names no place in this list. Begin at the newest event.")
	}
	return at, nil
}

// requestPath is the address of a signature request, whatever its id.
func requestPath(id string) string {
	if id == "." || id == ".." { // a browser would leave them out of a path
		return path("/events", "request", id)
	}
	return "/requests/" + url.PathEscape(id)
}
