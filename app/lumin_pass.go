package app

import (
	"errors"
	"fmt"
	"net/http"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/jobs/reconcile"
)

// maxLuminRate is far above any limit that Lumin may have.
const maxLuminRate = 100

// checkRate refuses a --rate that cannot be meant.
func checkRate(rate float64) error {
	if !(rate > 0 && rate <= maxLuminRate) { // NaN is neither
		return advice.Usage(fmt.Sprintf("--rate is %v", rate), "give more than 0 and at most %d requests per second; the default is 1.5", maxLuminRate)
	}
	return nil
}

// explainPass adds advice to the error that ended a pass over Lumin's API.
func explainPass(err error, url, command string) error {
	again := "it begins with the signature requests that were not checked"
	if command == "recover" {
		again = "nothing is recorded twice, and with --yes it continues where it stopped"
	}
	var refused *lumin.APIError
	switch {
	case errors.Is(err, reconcile.ErrAllUnknown):
		remedy := "check LUMIN_API_URL, and that LUMIN_API_KEY belongs to the workspace that sends the deliveries"
		if command == "reconcile" {
			remedy += "; if the signature requests are really gone, --gone marks them"
		}
		return advice.Add(err, "%s", remedy)
	case errors.Is(err, lumin.ErrNoAnswer):
		return advice.Add(fmt.Errorf("%s cannot be reached: %w", url, err), "check LUMIN_API_URL, and the DNS, proxy and firewall of this machine; then run %s again: %s", command, again)
	case !errors.As(err, &refused):
		return err
	case refused.StatusCode == http.StatusUnauthorized, refused.StatusCode == http.StatusForbidden:
		return advice.Add(err, "set LUMIN_API_KEY to a key of the workspace that is valid for the API at LUMIN_API_URL")
	}
	return advice.Add(err, "run %s again later: %s", command, again)
}
