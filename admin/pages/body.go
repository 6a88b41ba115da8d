package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/mask"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
)

// longestShown is the size of the largest body that a page shows. Larger ones can be
// downloaded.
const longestShown = 64 << 10

// body is how the page shows the body of an event.
type body struct {
	Size     int64
	Pretty   string // indented, and masked unless Revealed
	Exact    string // as it was signed; only if Revealed and if it is text
	Revealed bool
	TooLong  bool // for a page
	Hidden   bool // it is not valid JSON, so it cannot be masked
	Binary   bool // it is not text
	Unread   bool // the role of the program may not read bodies
	Removed  bool
}

// bodyOf prepares a body for the page.
func (p *Pages) bodyOf(ctx context.Context, e store.EventDetails, revealed bool) (b body, err error) {
	b.Revealed = revealed
	switch {
	case e.PayloadRemovedAt != nil:
		b.Removed = true
		return b, nil
	case e.PayloadSize == nil:
		b.Unread = true
		return b, nil
	case *e.PayloadSize > longestShown:
		b.Size, b.TooLong = *e.PayloadSize, true
		return b, nil
	}
	payload, err := p.cfg.Store.Payload(ctx, e.ID)
	if errors.Is(err, store.ErrPayloadRemoved) {
		return body{Removed: true}, nil
	}
	if err != nil {
		return b, err
	}
	b.Size = int64(len(payload))
	b.fill(payload)
	return b, nil
}

// fill sets what is shown of a payload.
func (b *body) fill(payload []byte) {
	shown, ok := payload, json.Valid(payload)
	if !b.Revealed {
		shown, ok = mask.JSON(payload)
		b.Hidden = !ok
	} else if b.Binary = !isText(payload); !b.Binary {
		b.Exact = string(payload)
	}
	var pretty bytes.Buffer
	if ok && json.Indent(&pretty, shown, "", "  ") == nil {
		b.Pretty = pretty.String()
	}
}

// isText reports whether a page can show bytes so that a copy of it is exact. An HTML
// page cannot hold a NUL or a lone carriage return.
func isText(payload []byte) bool {
	return bytes.Equal(bytes.ToValidUTF8(payload, nil), payload) && !bytes.ContainsAny(payload, "\x00\r")
}

// downloadBody answers with the exact bytes that were signed.
func (p *Pages) downloadBody(c echo.Context) error {
	id, err := eventID(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if _, err := p.cfg.Store.ShowEvent(ctx, id); err != nil {
		return err
	}
	if err := p.reveal(c, operate.Revealed{What: "body", EventID: id}); err != nil {
		return err
	}
	payload, err := p.cfg.Store.Payload(ctx, id)
	if errors.Is(err, store.ErrPayloadRemoved) {
		return &problem{Status: http.StatusGone, Title: "The body has been removed", Text: "Retention or an erasure has removed it.", Do: link{"Show the event", eventPath(id)}}
	}
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Disposition", `attachment; filename="event-`+strconv.FormatInt(id, 10)+`.json"`)
	return c.Blob(http.StatusOK, "application/octet-stream", payload)
}

// revealing is the handler of a page with personal data. It refuses readers.
func (p *Pages) revealing(show echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !p.cfg.Caller(c.Request().Context()).MayOperate {
			return errMayNot
		}
		return show(c)
	}
}

// reveal writes the row of the audit log before personal data is shown.
func (p *Pages) reveal(c echo.Context, what operate.Revealed) error {
	err := p.cfg.Operator.Reveal(c.Request().Context(), actorOf(p.cfg.Caller(c.Request().Context())), what, "")
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.InsufficientPrivilege {
		return &problem{Status: http.StatusServiceUnavailable, Title: "Not shown", Text: "The program's role may not write the audit log, and nothing is shown without a row in it."}
	}
	return err
}

func parseKey(text string) (lumin.EventKey, error) {
	key, err := lumin.ParseEventKey(text)
	if err != nil {
		return key, fmt.Errorf("event key of the database: %w", err)
	}
	return key, nil
}
