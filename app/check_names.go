package app

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/failures"
)

// The checks in this file refuse names that do not exist, and suggest similar
// ones that do.

// eventTypePrefix begins all of Lumin's documented event types. Commands accept
// the names without the prefix.
const eventTypePrefix = "signature_request_"

// fullEventType completes the short name of a documented event type, such as
// approved. It returns any other text unchanged.
func fullEventType(name string) lumin.EventType {
	if full := lumin.EventType(eventTypePrefix + name); full.Documented() {
		return full
	}
	return lumin.EventType(name)
}

// shortEventTypes lists Lumin's documented event types by their short names.
func shortEventTypes() []string {
	var names []string
	for _, t := range lumin.EventTypes() {
		names = append(names, shortEventType(string(t)))
	}
	return names
}

func shortEventType(name string) string { return strings.TrimPrefix(name, eventTypePrefix) }

// eventTypes returns the full names of event types. It accepts those that Lumin
// documents and those that are stored: Lumin also sends undocumented types.
func eventTypes(ctx context.Context, w operatorWindow, names []string) ([]string, error) {
	var full []string
	for _, name := range names {
		t := string(fullEventType(name))
		if !lumin.EventType(t).Documented() {
			known, err := w.Names(ctx)
			if err != nil {
				return nil, err
			}
			stored := known.EventTypes
			if slices.Contains(stored, eventTypePrefix+name) {
				t = eventTypePrefix + name
			}
			if !slices.Contains(stored, t) {
				return nil, unknownEventType(name, stored)
			}
		}
		full = append(full, t)
	}
	return full, nil
}

func unknownEventType(name string, stored []string) error {
	known := shortEventTypes()
	for _, t := range stored {
		if !lumin.EventType(t).Documented() {
			known = append(known, shortEventType(t))
		}
	}
	return advice.Usage(fmt.Sprintf("Lumin documents no event type %q, and no stored event has it", name), "%s", didYouMean(shortEventType(name), known))
}

// checkStoredSource refuses names that no stored event can have as its source.
func checkStoredSource(names ...string) error {
	return checkSource(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == store.RecoveredSource })...)
}

// checkSources refuses sources of which no event is stored, unless a secret is
// configured here or a job type subscribes to it.
func checkSources(ctx context.Context, w operatorWindow, names []string) error {
	if err := checkStoredSource(names...); err != nil {
		return err
	}
	var known []string
	for _, name := range names {
		if name == store.AccountSource || name == store.RecoveredSource {
			continue
		}
		if known == nil {
			var err error
			if known, err = knownSources(ctx, w); err != nil {
				return err
			}
		}
		if !slices.Contains(known, name) {
			return advice.Usage(fmt.Sprintf("no event of source %s is stored, and no secret of this source is configured here", name), "%s", didYouMean(name, known))
		}
	}
	return nil
}

func knownSources(ctx context.Context, w operatorWindow) ([]string, error) {
	names, err := w.Names(ctx)
	if err != nil {
		return nil, err
	}
	known := append(names.Sources, store.AccountSource)
	// Commands that only read the database need no secrets, so invalid secrets
	// are ignored.
	if secrets, err := secretsInEnvironment().secrets(); err == nil {
		known = append(known, slices.Collect(maps.Keys(secrets))...)
	}
	slices.Sort(known)
	return slices.Compact(known), nil
}

// secretsInEnvironment reads the settings of the secrets for commands that have
// no flags for them.
func secretsInEnvironment() sourceSettings {
	return sourceSettings{
		AccountAPIKeys: os.Getenv("LUMIN_ACCOUNT_API_KEYS"), AccountAPIKeysFile: os.Getenv("LUMIN_ACCOUNT_API_KEYS_FILE"),
		AppSecrets: os.Getenv("LUMIN_APP_SECRETS"), AppSecretsFile: os.Getenv("LUMIN_APP_SECRETS_FILE"),
	}
}

// checkKinds refuses job types that no program has registered, unless an
// unsettled run names them.
func checkKinds(ctx context.Context, w operatorWindow, names []string) error {
	if len(names) == 0 {
		return nil
	}
	in, err := w.Names(ctx)
	if err != nil {
		return err
	}
	known := in.JobTypes
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		switch stored, err := w.StoredKind(ctx, name); {
		case err != nil:
			return err
		case stored:
			continue
		}
		remedy := "no worker has run on this database yet"
		if len(known) > 0 {
			remedy = didYouMean(name, known)
		}
		return advice.Usage(fmt.Sprintf("no job type %q has ever been registered in this database", name), "%s", remedy)
	}
	return nil
}

// checkErrors refuses error fingerprints that no run has.
func checkErrors(names, known []string) error {
	for _, name := range names {
		if name == failures.NoFingerprint || slices.Contains(known, name) {
			continue
		}
		remedy := "none of these runs has an error; \"failures\" shows the errors"
		if len(known) > 0 {
			remedy = didYouMean(name, known) + "; \"failures\" shows the errors"
		}
		return advice.Usage(fmt.Sprintf("no run has the error %q", name), "%s", remedy)
	}
	return nil
}

// checkRequests refuses signature requests without a stored event.
func checkRequests(ctx context.Context, w operatorWindow, ids []string) error {
	for _, id := range ids {
		found := false
		for _, err := range w.Events(ctx, store.EventFilter{SignatureRequestID: id, Limit: 1}) {
			if err != nil {
				return err
			}
			found = true
		}
		if !found {
			return advice.Usage(fmt.Sprintf("no event of signature request %q is stored", id), "\"events list\" shows the ids")
		}
	}
	return nil
}

// checkEvents refuses ids of events that are not stored.
func checkEvents(ctx context.Context, w operatorWindow, ids []int64) error {
	for _, id := range ids {
		if _, err := w.Event(ctx, id); err != nil {
			return noSuchEvent(err)
		}
	}
	return nil
}
