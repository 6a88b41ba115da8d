package erasure

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Subject names the data to erase: signature requests, or all signature
// requests that mention an e-mail address. Set one of the two.
type Subject struct {
	SignatureRequestIDs []string
	Email               string
}

// Validate returns an error if the subject is invalid.
func (s Subject) Validate() error {
	switch {
	case (len(s.SignatureRequestIDs) > 0) == (s.Email != ""):
		return errors.New("give either signature requests or an e-mail address")
	case slices.Contains(s.SignatureRequestIDs, ""):
		return errors.New("a signature request id must not be empty")
	case s.Email == "":
		return nil
	}
	local, domain, found := strings.Cut(s.address(), "@")
	if !found || local == "" || domain == "" || strings.ContainsAny(domain, "@ ") || strings.ContainsAny(local, " <>") {
		return errors.New("the e-mail address is invalid: write it like ann@example.com")
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

// address is the e-mail address without "mailto:" and without the parameters of
// a link.
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
