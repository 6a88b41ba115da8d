package erasure

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Subject names what to erase: signature requests, or all of them that mention
// an e-mail address. Set one of the two.
type Subject struct {
	SignatureRequestIDs []string
	Email               string
}

// Validate returns an error that says what is invalid.
func (s Subject) Validate() error {
	switch {
	case (len(s.SignatureRequestIDs) > 0) == (s.Email != ""):
		return errors.New("either signature requests or an e-mail address are to be erased: give one of them")
	case slices.Contains(s.SignatureRequestIDs, ""):
		return errors.New("an empty id names no signature request")
	case s.Email == "":
		return nil
	}
	local, domain, found := strings.Cut(s.address(), "@")
	if !found || local == "" || domain == "" || strings.ContainsAny(domain, "@ ") || strings.ContainsAny(local, " <>") {
		return errors.New("that is no e-mail address: write it as in somebody@example.com")
	}
	return nil
}

// name is the column erasures.subject.
func (s Subject) name() string {
	if s.Email != "" {
		return "email"
	}
	return "signature_request"
}

// address is the e-mail address without the mailto: and the parameters of a
// link.
func (s Subject) address() string {
	const scheme = "mailto:"
	address := strings.TrimSpace(s.Email)
	if len(address) < len(scheme) || !strings.EqualFold(address[:len(scheme)], scheme) {
		return address
	}
	address, _, _ = strings.Cut(address[len(scheme):], "?")
	if plain, err := url.PathUnescape(address); err == nil {
		address = plain
	}
	return address
}

// mentions returns the words to search for in bodies. The domain of an address
// may be written in Unicode or in ASCII (punycode).
func (s Subject) mentions() (all []*mention) {
	if s.Email == "" {
		for _, id := range s.SignatureRequestIDs {
			all = append(all, newMention(id))
		}
		return all
	}
	spellings := []string{s.address()}
	local, domain, _ := strings.Cut(norm.NFC.String(s.address()), "@")
	for _, convert := range []func(string) (string, error){idna.Lookup.ToASCII, idna.Lookup.ToUnicode} {
		if other, err := convert(strings.ToLower(domain)); err == nil && other != "" {
			spellings = append(spellings, local+"@"+other)
		}
	}
	return []*mention{newMention(spellings...)}
}
