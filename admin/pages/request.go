package pages

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/mask"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/signaturerequest"
)

// requestEvents is how many events of a signature request its page shows.
const requestEvents = 200

// requestData is what request.html shows.
type requestData struct {
	ID       string
	State    *signaturerequest.Row // nil if the job type signature_request_state has not stored it
	Title    string
	Signers  []signer
	Events   []requestEvent
	More     bool
	Revealed bool
	Unread   bool // the role of the program may not read bodies
	Hidden   bool // the newest body is not valid JSON, or has no list of signers as documented
}

// Masks reports whether the page has something that it masks.
func (d requestData) Masks() bool { return d.Title != "" || len(d.Signers) > 0 }

// signer is one signer of the newest body.
type signer struct{ Name, Email, Status, Group string }

// requestEvent is one event, with its copies from other sources.
type requestEvent struct {
	eventLine
	Copies []store.EventSummary
}

// request shows the story of a signature request.
func (p *Pages) request(c echo.Context) error { return p.showRequest(c, false) }

// revealRequest shows it with the names and addresses of its signers, once.
func (p *Pages) revealRequest(c echo.Context) error { return p.showRequest(c, true) }

func (p *Pages) showRequest(c echo.Context, revealed bool) error {
	ctx := c.Request().Context()
	data := requestData{ID: pathParameter(c, "id"), Revealed: revealed}
	events, err := p.cfg.Store.Search(ctx, store.Search{SignatureRequestID: data.ID}, store.SearchPosition{}, requestEvents)
	if err != nil {
		return err
	}
	data.More = events.Next != nil
	if data.Events, err = p.requestEvents(c, events.Events); err != nil {
		return err
	}
	state, found, err := signaturerequest.Find(ctx, p.cfg.Store.Pool(), data.ID)
	if err != nil {
		return err
	}
	if !found && len(data.Events) == 0 {
		return &problem{Status: http.StatusNotFound, Title: "No such signature request", Text: "No event of it is stored. It may be misspelled, or removed by retention or an erasure.", Do: link{"Search the events", "/events"}}
	}
	if found {
		data.State, data.Title = &state, deref(state.Title)
	}
	if revealed {
		if err := p.reveal(c, operate.Revealed{What: "signature_request", SignatureRequest: data.ID}); err != nil {
			return err
		}
	} else {
		data.Title = mask.String(data.Title)
	}
	if err := p.addSigners(ctx, &data); err != nil {
		return err
	}
	return p.show(c, "request", view{Title: "Signature request", Section: "/events", Crumbs: []link{{"Events", "/events"}}, Path: requestPath(data.ID), Data: data})
}

// pathParameter is a part of the path as text. Echo leaves it encoded if the path has
// an encoded slash.
func pathParameter(c echo.Context, name string) string {
	value := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return value
	}
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}

// requestEvents puts events in the order in which they happened, and the copies of
// one event together.
func (p *Pages) requestEvents(c echo.Context, newest []store.EventSummary) ([]requestEvent, error) {
	lines, err := p.withLines(c, newest)
	if err != nil {
		return nil, err
	}
	var events []requestEvent
	at := map[string]int{}
	for _, e := range lines {
		if i, found := at[e.Key]; found {
			events[i].Copies = append(events[i].Copies, e.EventSummary)
			continue
		}
		at[e.Key] = len(events)
		events = append(events, requestEvent{eventLine: e})
	}
	sortByTime(events)
	return events, nil
}

// addSigners reads the signers from the newest body. Its shape is Lumin's and may
// change, so what does not fit is left out.
func (p *Pages) addSigners(ctx context.Context, data *requestData) error {
	payload, err := p.cfg.Store.NewestPayload(ctx, data.ID)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.InsufficientPrivilege {
		data.Unread = true
		return nil
	}
	if err != nil || payload == nil {
		return err
	}
	var envelope struct {
		Request struct {
			Title   any `json:"title"`
			Signers []struct {
				Name    any `json:"name"`
				Email   any `json:"email"`
				Address any `json:"email_address"`
				Status  any `json:"status"`
				Group   any `json:"group"`
			} `json:"signers"`
		} `json:"signature_request"`
	}
	if json.Unmarshal(payload, &envelope) != nil {
		data.Hidden = true
		return nil
	}
	text := func(v any, hide func(string) string) string {
		s := plainText(v)
		if s == "" || data.Revealed {
			return s
		}
		return hide(s)
	}
	if data.Title == "" {
		data.Title = text(envelope.Request.Title, mask.String)
	}
	for _, s := range envelope.Request.Signers {
		email := text(s.Email, mask.Email)
		if email == "" {
			email = text(s.Address, mask.Email)
		}
		data.Signers = append(data.Signers, signer{text(s.Name, mask.Name), email, text(s.Status, mask.String), text(s.Group, mask.String)})
	}
	return nil
}

// plainText is a JSON value that stands alone as text; empty for any other.
func plainText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64, bool:
		text, err := json.Marshal(v)
		if err == nil {
			return string(text)
		}
	}
	return ""
}
