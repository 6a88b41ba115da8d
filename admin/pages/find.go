package pages

import (
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store"
)

// find leads to what an id belongs to. If it belongs to several events, it leads to
// their list, or to their signature request if they have one in common.
func (p *Pages) find(c echo.Context) error {
	text := strings.TrimSpace(clean(c, "q"))
	if text == "" {
		return seeOther(c, "/events")
	}
	const enough = 100
	found, err := p.cfg.Store.Search(c.Request().Context(), store.Search{ID: text}, store.SearchPosition{}, enough)
	if err != nil {
		return err
	}
	for _, e := range found.Events {
		if strconv.FormatInt(e.ID, 10) == text {
			return seeOther(c, eventPath(e.ID))
		}
	}
	if found.Next != nil && !isRequest(found.Events, text) { // others may match too
		return seeOther(c, path("/events", "id", text))
	}
	requests, keys := map[string]bool{}, map[string]bool{}
	for _, e := range found.Events {
		requests[deref(e.SignatureRequestID)], keys[e.Key] = true, true
	}
	switch {
	case len(found.Events) == 1 && deref(found.Events[0].SignatureRequestID) != text:
		return seeOther(c, eventPath(found.Events[0].ID))
	case len(requests) == 1 && len(found.Events) > 0 && strings.HasPrefix(deref(found.Events[0].SignatureRequestID), text):
		return seeOther(c, requestPath(deref(found.Events[0].SignatureRequestID)))
	case len(keys) == 1 && len(found.Events) > 0:
		return seeOther(c, eventPath(found.Events[0].ID))
	}
	return seeOther(c, path("/events", "id", text))
}

// isRequest reports whether a text is the signature request of all these events.
func isRequest(events []store.EventSummary, text string) bool {
	for _, e := range events {
		if deref(e.SignatureRequestID) != text {
			return false
		}
	}
	return len(events) > 0
}
