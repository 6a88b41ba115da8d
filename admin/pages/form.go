package pages

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/redact"
	"lumin-ingest/store/once"
	"lumin-ingest/store/operate"
)

// sentForm is a form that a person has sent. The form of each page has a token, so that
// it is carried out once, even if the browser sends it again after a lost answer.
type sentForm struct {
	mark    string // the same whenever the form is carried out; empty without a token
	outcome outcome
	inPart  bool // the rest is left for the same form, sent again
}

// outcome is what came of a form, and the page that shows it.
type outcome struct {
	Text string `json:"text"`
	Path string `json:"path"`
}

// sentFormKey is the key of the form in the context of its request.
const sentFormKey = "sent form"

func formOf(c echo.Context) *sentForm {
	f, _ := c.Get(sentFormKey).(*sentForm)
	return f
}

// done ends a form that was carried out. The page at path shows the text.
func done(c echo.Context, text, path string) error {
	formOf(c).outcome = outcome{text, path}
	return nil
}

// doneInPart ends a form that was carried out in part.
func doneInPart(c echo.Context, text, path string) error {
	formOf(c).inPart = true
	return done(c, text, path)
}

// newToken is the token of the form of a page.
func newToken() string { return rand.Text() }

// operating is the handler of a form that changes something. It refuses readers, and
// forms that cannot be read in full: without a part of its filter, an order would
// reach more runs.
func (p *Pages) operating(act func(c echo.Context, by operate.Actor, reason string) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		caller := p.cfg.Caller(c.Request().Context())
		if !caller.MayOperate {
			return errMayNot
		}
		r := c.Request()
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxForm)
		if r.ParseForm() != nil {
			return badForm("It cannot be read. Go back, and send it again.")
		}
		c.Set(sentFormKey, &sentForm{})
		err := p.once(c, func() error { return act(c, actorOf(caller), strings.TrimSpace(c.FormValue("reason"))) })
		p.work.expire()
		p.waiting.expire()
		p.waits.expire()
		if err != nil {
			return &changeError{err, evidence(c)}
		}
		return showDone(c, formOf(c).outcome)
	}
}

// maxToken bounds a token, in bytes.
const maxToken = 100

// once carries out a form that was not carried out before. The first time counts, also
// for the reason. A form without a token, which a program has made, is carried out each
// time.
func (p *Pages) once(c echo.Context, act func() error) error {
	token := c.Request().PostForm.Get("token")
	if token == "" {
		return p.carriedOut(c, act())
	}
	if len(token) > maxToken {
		return badForm("Its token is too long.")
	}
	claim, err := p.forms.Claim(c.Request().Context(), once.ID("form", token), sha256.Sum256([]byte(c.Request().URL.Path)))
	if err != nil {
		return claimError(err)
	}
	if claim.Answer != nil {
		return usedBefore(c, claim.Answer)
	}
	formOf(c).mark = claim.Token
	err = p.carriedOut(c, act())
	return p.endClaim(c, claim, err)
}

// carriedOut accepts a change whose row in the audit log could not be completed.
func (p *Pages) carriedOut(c echo.Context, err error) error {
	if !errors.Is(err, operate.ErrNoOutcome) {
		return err
	}
	p.cfg.Logger.Error("a change has no outcome in the audit log", "path", c.Path(), "error", redact.Text(errtext.OneLine(err)))
	return done(c, "It was carried out. Its row in the audit log lacks the outcome: the database failed after the change.", evidence(c).Path)
}

// usedBefore leads to where the form led the first time.
func usedBefore(c echo.Context, answer []byte) error {
	var first outcome
	if err := json.Unmarshal(answer, &first); err != nil {
		return fmt.Errorf("read the outcome of a form: %w", err)
	}
	return done(c, "This form was sent before, and counts once, with the reason that it had then. Nothing more was done now. The first time: "+first.Text, first.Path)
}

// endClaim stores what came of a form. After an error, the same form may be sent again:
// it goes on with the same mark.
func (p *Pages) endClaim(c echo.Context, claim once.Claim, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), claimTimeout)
	defer cancel()
	f := formOf(c)
	var ended error
	if err != nil || f.inPart {
		ended = p.forms.Release(ctx, claim)
	} else {
		var answer []byte
		if answer, ended = json.Marshal(f.outcome); ended == nil {
			ended = p.forms.Finish(ctx, claim, answer)
		}
	}
	if ended != nil { // the claim ends in a minute
		p.cfg.Logger.Error("the outcome of a form could not be stored", "path", c.Path(), "error", redact.Text(errtext.OneLine(ended)))
	}
	return err
}

// claimTimeout bounds the statement that ends a claim.
const claimTimeout = 5 * time.Second

// claimError explains why a form was not carried out.
func claimError(err error) error {
	switch {
	case errors.Is(err, once.ErrUnderWay):
		return &problem{Status: http.StatusConflict, Title: "Under way", Text: "This form was sent before, and is still being carried out. Wait a minute, then send it again: it counts once, and leads to what it did."}
	case errors.Is(err, once.ErrOtherRequest):
		return badForm("Its token is that of another form. Go back, and open the page again.")
	}
	return fmt.Errorf("%w: %w", operate.ErrNothingChanged, err)
}
