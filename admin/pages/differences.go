package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"lumin-ingest/internal/mask"
	"lumin-ingest/store"
)

// otherBody is one repeated body of an event, with what differs in it.
type otherBody struct {
	store.OtherBody
	Differences []difference
	More        int  // differences that are not listed
	Hidden      bool // one of the two bodies cannot be examined
}

// Conflict reports whether the body reports something else than the first.
func (b otherBody) Conflict() bool { return b.Differs == "content" }

// difference is one value that two bodies do not share.
type difference struct {
	Path         string // such as signature_request.signers[0].status
	First, Other string // as JSON; empty if the body has no such value
}

// differencesShown is how many differences a page lists for each body.
const differencesShown = 30

// otherBodies compares the redeliveries of an event with its first body. Long bodies
// are not compared, because a page asks again and again.
func (p *Pages) otherBodies(ctx context.Context, e store.EventDetails, revealed bool) ([]otherBody, error) {
	if len(e.Repeated) == 0 || e.PayloadSize == nil {
		return repeatedOnly(e), nil
	}
	found, err := p.cfg.Store.OtherBodies(ctx, e.ID, longestShown)
	if err != nil {
		return nil, err
	}
	if *e.PayloadSize > longestShown {
		for i := range found {
			found[i].TooLong, found[i].Payload = found[i].TooLong || found[i].Payload != nil, nil
		}
	}
	return p.compared(ctx, e, found, revealed)
}

// otherBodyOf compares one redelivery of an event with its first body, however long
// they are.
func (p *Pages) otherBodyOf(ctx context.Context, e store.EventDetails, sha256 string, revealed bool) (b otherBody, err error) {
	if e.PayloadSize == nil {
		return b, nil
	}
	found, err := p.cfg.Store.OtherBodies(ctx, e.ID, math.MaxInt32)
	if err != nil {
		return b, err
	}
	found = slices.DeleteFunc(found, func(o store.OtherBody) bool { return o.SHA256 != sha256 })
	others, err := p.compared(ctx, e, found, revealed)
	if err != nil || len(others) == 0 {
		return b, err
	}
	return others[0], nil
}

// compared compares bodies with the first body of their event.
func (p *Pages) compared(ctx context.Context, e store.EventDetails, found []store.OtherBody, revealed bool) ([]otherBody, error) {
	first, err := p.cfg.Store.Payload(ctx, e.ID)
	if err != nil && !errors.Is(err, store.ErrPayloadRemoved) {
		return nil, err
	}
	others := make([]otherBody, len(found))
	for i, o := range found {
		others[i] = otherBody{OtherBody: o}
		if o.Payload != nil && first != nil {
			others[i].compare(first, revealed)
		}
	}
	return others, nil
}

// repeatedOnly describes redeliveries whose bodies this program may not read.
func repeatedOnly(e store.EventDetails) (others []otherBody) {
	for _, r := range e.Repeated {
		others = append(others, otherBody{OtherBody: store.OtherBody{Redelivery: r}})
	}
	return others
}

// compare lists the differences to the first body.
func (b *otherBody) compare(first []byte, revealed bool) {
	all, ok := compareBodies(first, b.Payload, revealed)
	b.Hidden = !ok
	b.Differences = all[:min(len(all), differencesShown)]
	b.More = len(all) - len(b.Differences)
}

// compareBodies lists the values in which two bodies differ. Values are masked
// unless revealed; a difference stays listed even if the masked values are equal.
// ok is false if a body is not valid JSON.
func compareBodies(first, other []byte, revealed bool) (all []difference, ok bool) {
	plainFirst, plainOther := map[string]string{}, map[string]string{}
	if !flatten(first, plainFirst) || !flatten(other, plainOther) {
		return nil, false
	}
	shownFirst, shownOther := plainFirst, plainOther
	if !revealed {
		shownFirst, shownOther = map[string]string{}, map[string]string{}
		maskedFirst, okFirst := mask.JSON(first)
		maskedOther, okOther := mask.JSON(other)
		if !okFirst || !okOther || !flatten(maskedFirst, shownFirst) || !flatten(maskedOther, shownOther) {
			return nil, false
		}
	}
	for path, value := range plainOther {
		if had, found := plainFirst[path]; !found || had != value {
			all = append(all, difference{mask.String(path), shown(shownFirst, path, plainFirst), shown(shownOther, path, plainOther)})
		}
	}
	for path := range plainFirst {
		if _, found := plainOther[path]; !found {
			all = append(all, difference{mask.String(path), shown(shownFirst, path, plainFirst), ""})
		}
	}
	slices.SortFunc(all, func(a, b difference) int { return bytes.Compare([]byte(a.Path), []byte(b.Path)) })
	return all, true
}

// shown is the masked value of a path. The name of a member may itself be masked, so
// that the path is not found: then the value is hidden.
func shown(masked map[string]string, path string, plain map[string]string) string {
	if _, found := plain[path]; !found {
		return ""
	}
	if value, found := masked[path]; found {
		return value
	}
	return "•••"
}

// flatten stores each value of a JSON text by its path. It returns false if the text
// is not valid.
func flatten(text []byte, into map[string]string) bool {
	if !json.Valid(text) {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return flattenValue(decoder, "", into) == nil
}

// flattenValue reads one value. Members of the same name get a number.
func flattenValue(d *json.Decoder, at string, into map[string]string) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	delim, opens := token.(json.Delim)
	if !opens {
		keep(into, at, literal(token))
		return nil
	}
	n := 0
	for ; d.More(); n++ {
		path := fmt.Sprintf("%s[%d]", at, n)
		if delim == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			path = joined(at, fmt.Sprint(name))
		}
		if err := flattenValue(d, path, into); err != nil {
			return err
		}
	}
	if n == 0 {
		keep(into, at, string(rune(delim))+map[json.Delim]string{'{': "}", '[': "]"}[delim])
	}
	_, err = d.Token()
	return err
}

// literal is a value as JSON, with the characters visible that change the order of
// the text around them or have no width.
func literal(token json.Token) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(token) != nil {
		return "" // impossible for a value of JSON
	}
	var visible strings.Builder
	for _, r := range strings.TrimSuffix(out.String(), "\n") {
		if unicode.Is(unicode.Cf, r) {
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&visible, `\u%04x`, unit)
			}
			continue
		}
		visible.WriteRune(r)
	}
	return visible.String()
}

func joined(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// keep keeps every value, even if a body has two members of the same name.
func keep(into map[string]string, path, value string) {
	free := path
	for n := 2; ; n++ {
		if _, taken := into[free]; !taken {
			into[free] = value
			return
		}
		free = path + " (" + strconv.Itoa(n) + ")"
	}
}
