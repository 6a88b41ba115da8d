package app

import (
	"fmt"
	"strings"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/jobs/forward"
)

// forwardSettings configure the targets of forward.
type forwardSettings struct {
	ForwardURLs          string `name:"forward-urls" env:"FORWARD_URLS" placeholder:"NAME=URL,..." help:"Forward events to these addresses, signed per Standard Webhooks."`
	ForwardSecrets       string `name:"forward-secrets" env:"FORWARD_SECRETS" placeholder:"NAME=SECRET,..." help:"Secrets that sign forwarded events, as whsec_BASE64. A name may repeat while its secret is rotated."`
	ForwardSecretsFile   string `name:"forward-secrets-file" env:"FORWARD_SECRETS_FILE" placeholder:"FILE" help:"File that holds the values."`
	ForwardEvents        string `name:"forward-events" env:"FORWARD_EVENTS" placeholder:"NAME=TYPE,..." help:"Event types to forward. A name may repeat. A name without an entry gets all event types."`
	ForwardAllowNetworks string `name:"forward-allow-networks" env:"FORWARD_ALLOW_NETWORKS" placeholder:"NAME=CIDR,..." help:"Forward only to addresses in these networks, which may be private. A name may repeat. A name without an entry forwards to public addresses only."`
	ForwardRecovered     bool   `env:"FORWARD_RECOVERED" default:"true" negatable:"" help:"Also forward events that were recovered. They have no signature of Lumin."`
}

// jobTypes returns a job type for each configured target.
func (s forwardSettings) jobTypes() ([]*forward.JobType, error) {
	targets, err := s.targets()
	if err != nil {
		return nil, err
	}
	all := make([]*forward.JobType, 0, len(targets))
	for _, target := range targets {
		target.RefuseRecovered = !s.ForwardRecovered
		jobType, err := forward.New(target)
		if err != nil {
			return nil, advice.Usage(err.Error(), "see what FORWARD_URLS, FORWARD_SECRETS and FORWARD_ALLOW_NETWORKS hold for %s", target.Name)
		}
		all = append(all, jobType)
	}
	return all, nil
}

// targets returns the configured targets, in the order of FORWARD_URLS.
func (s forwardSettings) targets() ([]forward.Target, error) {
	targets, err := s.addresses()
	if err != nil {
		return nil, err
	}
	secrets, err := secret("FORWARD_SECRETS", s.ForwardSecrets, s.ForwardSecretsFile)
	if err != nil {
		return nil, err
	}
	for _, list := range []struct {
		setting, form, value string
		add                  addFunc
	}{
		{"FORWARD_SECRETS", "NAME=SECRET", secrets, addSecret},
		{"FORWARD_EVENTS", "NAME=TYPE", s.ForwardEvents, addEvent},
		{"FORWARD_ALLOW_NETWORKS", "NAME=CIDR", s.ForwardAllowNetworks, addNetwork},
	} {
		if err := addValues(targets, list.setting, list.form, list.value, list.add); err != nil {
			return nil, err
		}
	}
	for _, target := range targets {
		if len(target.Secrets) == 0 {
			return nil, advice.Usage(fmt.Sprintf("FORWARD_URLS has %s, and FORWARD_SECRETS has no secret for it", target.Name),
				"nothing is forwarded unsigned: add %s=whsec_SECRET, with the Base64 of 24 to 64 random bytes for SECRET", target.Name)
		}
	}
	return targets, nil
}

// addresses returns the targets with only their names and URLs.
func (s forwardSettings) addresses() ([]forward.Target, error) {
	const setting = "FORWARD_URLS"
	list, err := namedEntries(setting, "NAME=URL", s.ForwardURLs)
	if err != nil {
		return nil, err
	}
	var targets []forward.Target
	for _, entry := range list {
		if find(targets, entry.name) != nil {
			return nil, advice.Usage(fmt.Sprintf("%s has %s twice", setting, entry.name), "give each address a name of its own")
		}
		targets = append(targets, forward.Target{Name: entry.name, URL: entry.value})
	}
	return targets, nil
}

// addFunc adds a value to a target, or returns what is wrong with the value and
// a remedy.
type addFunc = func(target *forward.Target, value string) (wrong, remedy string)

// addValues adds the values of a list to the targets that it names.
func addValues(targets []forward.Target, setting, form, list string, add addFunc) error {
	entries, err := namedEntries(setting, form, list)
	if err != nil {
		return err
	}
	for i, entry := range entries {
		target := find(targets, entry.name)
		if target == nil { // the name is not quoted: it may be part of a secret
			return advice.Usage(fmt.Sprintf("%s: entry %d has a name that is not in FORWARD_URLS", setting, i+1),
				"add NAME=https://... to FORWARD_URLS, or remove the entry; the names there are: %s", names(targets))
		}
		if wrong, remedy := add(target, entry.value); wrong != "" {
			return advice.Usage(fmt.Sprintf("%s: entry %d, for %s, has %s", setting, i+1, entry.name, wrong), "%s", remedy)
		}
	}
	return nil
}

func find(targets []forward.Target, name string) *forward.Target {
	for i := range targets {
		if targets[i].Name == name {
			return &targets[i]
		}
	}
	return nil
}

func names(targets []forward.Target) string {
	if len(targets) == 0 {
		return "none"
	}
	all := make([]string, 0, len(targets))
	for _, target := range targets {
		all = append(all, target.Name)
	}
	return strings.Join(all, ", ")
}

type namedEntry struct{ name, value string }

// namedEntries reads a list of NAME=VALUE. Its errors do not quote the list,
// because a malformed entry may be a secret.
func namedEntries(setting, form, list string) ([]namedEntry, error) {
	list, err := clean(setting, list)
	if err != nil || list == "" {
		return nil, err
	}
	texts, err := cleanEntries(setting, list)
	if err != nil {
		return nil, err
	}
	var all []namedEntry
	for i, text := range texts {
		name, value, found := strings.Cut(text, "=")
		name = trim(name)
		if value, err = clean(fmt.Sprintf("%s: the value of entry %d", setting, i+1), value); err != nil {
			return nil, err
		}
		if !found || value == "" || !forward.ValidName(name) {
			return nil, advice.Usage(fmt.Sprintf("%s: entry %d is not %s", setting, i+1, form),
				"write it as %s,..., with names of 1 to 56 characters out of a-z, 0-9 and single hyphens between them; write a comma in a URL as %%2C", form)
		}
		all = append(all, namedEntry{name, value})
	}
	return all, nil
}

func addSecret(target *forward.Target, value string) (wrong, remedy string) {
	target.Secrets = append(target.Secrets, value) // forward.New checks it
	return "", ""
}

// undocumented marks an event type that Lumin does not document. Without the
// mark, such a type is refused: a misspelled one would never match an event.
const undocumented = "undocumented:"

func addEvent(target *forward.Target, value string) (wrong, remedy string) {
	text, marked := strings.CutPrefix(value, undocumented)
	eventType := lumin.EventType(text)
	if !marked {
		eventType = fullEventType(text)
	}
	if text == "" || (!marked && !eventType.Documented()) {
		return "an event type that Lumin does not document",
			didYouMean(shortEventType(text), shortEventTypes()) + "; write an event type that Lumin does not document as NAME=" + undocumented + "TYPE"
	}
	target.Events = append(target.Events, eventType)
	return "", ""
}

func addNetwork(target *forward.Target, value string) (wrong, remedy string) {
	network, err := parseNetwork(value)
	if err != nil {
		return "an invalid network", networkForm
	}
	target.AllowNetworks = append(target.AllowNetworks, network)
	return "", ""
}
