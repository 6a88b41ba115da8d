package pages

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/mask"
	"lumin-ingest/store"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/operate"
)

// conflictsListed is how many conflicts the page lists.
const conflictsListed = 100

// conflictsData is what conflicts.html shows.
type conflictsData struct {
	Conflicts []conflict.Row
	All       bool // decided ones too
	Signers   bool // only those between two signers

	Older, Newest string
}

// conflicts lists conflicts, the last delivered first.
func (p *Pages) conflicts(c echo.Context) error {
	data := conflictsData{All: c.QueryParam("all") != "", Signers: c.QueryParam("signers") != ""}
	from, err := positionOf(c.QueryParam("from"))
	if err != nil {
		return err
	}
	if _, err := hex.DecodeString(from.Kind); err != nil {
		return badRequest("It names no place in this list. Begin at the newest conflict.")
	}
	found, err := conflict.List(c.Request().Context(), p.cfg.Store.Pool(), conflict.Filter{
		Undecided: !data.All, AnotherActor: data.Signers, Limit: conflictsListed + 1,
		After: conflict.Position{LastAt: from.At, EventID: from.ID, Body: from.Kind},
	})
	if err != nil {
		return err
	}
	data.Conflicts = found[:min(len(found), conflictsListed)]
	if len(found) > conflictsListed {
		last := found[conflictsListed-1]
		data.Older = data.path(encodePosition(store.SearchPosition{At: last.LastAt, ID: last.EventID, Kind: last.Body}))
	}
	if from.ID != 0 {
		data.Newest = data.path("")
	}
	return p.show(c, "conflicts", view{
		Title: "Conflicts", Section: "/conflicts", Data: data,
		Lead: "A conflict is a delivery with the identity of a stored event but another content. It has no jobs until a person decides.",
	})
}

func (d conflictsData) path(from string) string {
	return path("/conflicts", "all", flag(d.All), "signers", flag(d.Signers), "from", from)
}

// conflictData is what conflict.html shows.
type conflictData struct {
	conflict.Row
	Body        otherBody
	First       string // the signer whom the first body names, masked unless Revealed
	Other       string
	WorkedID    int64
	JobTypes    []string // whose runs a promotion orders
	Undecidable string   // why nothing can be decided; empty if it can
	Revealed    bool
	Token       string // of the form that decides
}

// conflict shows one conflict and what a decision would do.
func (p *Pages) conflict(c echo.Context) error { return p.showConflict(c, false) }

// revealConflict shows it with its personal data, once: two signers may look the same
// when they are masked.
func (p *Pages) revealConflict(c echo.Context) error { return p.showConflict(c, true) }

func (p *Pages) showConflict(c echo.Context, revealed bool) error {
	ctx := c.Request().Context()
	row, err := p.theConflict(c)
	if err != nil {
		return err
	}
	event, err := p.cfg.Store.ShowEvent(ctx, row.EventID)
	if err != nil {
		return err
	}
	if revealed {
		if err := p.reveal(c, operate.Revealed{What: "conflict", EventID: row.EventID}); err != nil {
			return err
		}
	}
	data := conflictData{Row: row, Revealed: revealed, Token: newToken()}
	if data.Body, err = p.otherBodyOf(ctx, event, row.Body, revealed); err != nil {
		return err
	}
	if event.PayloadSize != nil {
		actors, err := conflict.ActorsOf(ctx, p.cfg.Store.Pool(), row)
		if err != nil {
			return err
		}
		data.First, data.Other, data.WorkedID = actors.First, actors.Other, actors.WorkedID
		if !revealed {
			data.First, data.Other = maskedEmail(actors.First), maskedEmail(actors.Other)
		}
	}
	if data.JobTypes, err = p.cfg.Store.SubscribedKinds(ctx, row.EventID); err != nil {
		return err
	}
	return p.show(c, "conflict", view{
		Title: "Conflict of event " + strings.TrimPrefix(eventPath(row.EventID), "/events/"), Section: "/conflicts",
		Crumbs: []link{{"Conflicts", "/conflicts"}}, Data: data,
	})
}

func maskedEmail(address string) string {
	if address == "" {
		return ""
	}
	return mask.Email(address)
}

// theConflict finds the conflict of an address.
func (p *Pages) theConflict(c echo.Context) (conflict.Row, error) {
	id, err := eventID(c)
	if err != nil {
		return conflict.Row{}, err
	}
	const most = 11 // an event keeps ten bodies, and counts the others together
	rows, err := conflict.List(c.Request().Context(), p.cfg.Store.Pool(), conflict.Filter{EventID: id, Limit: most})
	if err != nil {
		return conflict.Row{}, err
	}
	for _, row := range rows {
		if row.Body == c.Param("body") && row.Body != "" {
			return row, nil
		}
	}
	return conflict.Row{}, store.ErrNotFound
}

// decide stores a decision about a conflict.
func (p *Pages) decide(c echo.Context, by operate.Actor, reason string) error {
	row, err := p.theConflict(c)
	if err != nil {
		return err
	}
	back := link{"Back to the conflict", c.Request().URL.Path}
	decision := operate.Decision(c.FormValue("decision"))
	if decision != operate.Promote && decision != operate.DismissConflict {
		return badForm("Choose to promote or to dismiss the conflict.")
	}
	promoted, err := p.cfg.Operator.DecideConflict(c.Request().Context(), by, row, decision, reason)
	var refused *conflict.RefusedError
	switch {
	case errors.Is(err, operate.ErrNoReason):
		return &problem{Status: http.StatusBadRequest, Title: "A reason is missing", Text: "It is stored with the conflict. Go back and give one.", Do: back}
	case errors.As(err, &refused):
		return &problem{Status: http.StatusConflict, Title: "Not decided", Text: capitalized(refused.Reason) + ". " + capitalized(refused.Hint) + ".", Do: back}
	case err != nil:
		return err
	case promoted > 0:
		return done(c, "The conflict is promoted. A replay creates the runs of this event.", eventPath(promoted))
	}
	return done(c, "The conflict is dismissed.", "/conflicts")
}
