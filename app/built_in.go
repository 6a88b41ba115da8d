package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs"
)

// luminSettings say how to ask Lumin's API.
type luminSettings struct {
	LuminAPIKey string `env:"LUMIN_API_KEY" placeholder:"KEY" help:"API key for job types that call Lumin's API, and for reconcile."`
	APIKeyFile  string `name:"lumin-api-key-file" env:"LUMIN_API_KEY_FILE" placeholder:"FILE" help:"File that holds the value."`
	LuminAPIURL string `name:"lumin-api-url" env:"LUMIN_API_URL" default:"https://api.luminpdf.com/v1" placeholder:"URL" help:"Address of Lumin's API. The sandbox is at https://api-sandbox.luminpdf.com/v1."`
}

// client is nil without a key.
func (s luminSettings) client() (*lumin.Client, string, error) {
	key, err := secret("LUMIN_API_KEY", s.LuminAPIKey, s.APIKeyFile)
	if err != nil || key == "" {
		return nil, "", err
	}
	if s.LuminAPIURL, err = clean("LUMIN_API_URL", s.LuminAPIURL); err != nil {
		return nil, "", err
	}
	client, err := lumin.NewClient(lumin.ClientConfig{BaseURL: s.LuminAPIURL, APIKey: key})
	if err != nil {
		return nil, "", usage(err.Error(), "see what LUMIN_API_KEY and LUMIN_API_URL hold")
	}
	return client, key, nil
}

// reconcileSettings say when Lumin is asked for what deliveries may not have told.
type reconcileSettings struct {
	ReconcileEvery  time.Duration `env:"RECONCILE_EVERY" placeholder:"DURATION" help:"Interval for comparing lumin.signature_requests with Lumin's API, such as 24h. Off by default."`
	ReconcileRepair bool          `env:"RECONCILE_REPAIR" help:"Also repair the differences."`
}

// builtInSettings configure the job types that the program brings along. None is
// there unless it is asked for.
type builtInSettings struct {
	forwardSettings
	archiveSettings
	reconcileSettings

	added bool // by AddBuiltIn
}

// set lists the settings that ask for a job type.
func (s *builtInSettings) set() (names []string) {
	for name, set := range map[string]bool{
		"FORWARD_URLS": s.ForwardURLs != "", "ARCHIVE_URL": s.ArchiveURL != "", "RECONCILE_EVERY": s.ReconcileEvery != 0,
	} {
		if set {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// forgotten reports whether job types are asked for that the program does not have.
func (s *builtInSettings) forgotten() bool { return !s.added && len(s.set()) > 0 }

// AddBuiltIn registers the built-in job types that the settings ask for: forward
// (FORWARD_URLS), archive_contract (ARCHIVE_URL) and the periodic reconciliation
// (RECONCILE_EVERY). Buckets other than file:// need their driver, which the program
// imports:
//
//	import _ "gocloud.dev/blob/s3blob"
func (e Env) AddBuiltIn(ctx context.Context, registry *worker.Registry) error {
	if e.builtIn == nil { // not from app.Main
		return nil
	}
	e.builtIn.added = true
	forwards, err := e.builtIn.forwards()
	if err != nil {
		return err
	}
	for _, forward := range forwards {
		registry.Add(forward)
	}
	if err := e.addArchive(ctx, registry); err != nil {
		return err
	}
	return e.addReconcile(registry)
}

func (e Env) addReconcile(registry *worker.Registry) error {
	s := e.builtIn.reconcileSettings
	switch {
	case s.ReconcileEvery == 0 && s.ReconcileRepair:
		return usage("RECONCILE_REPAIR is set and RECONCILE_EVERY is not", "set RECONCILE_EVERY, such as 24h; \"%s reconcile --repair\" does it once", invocation())
	case s.ReconcileEvery == 0:
		return nil
	case s.ReconcileEvery < time.Minute:
		return usage(fmt.Sprintf("RECONCILE_EVERY is %s", s.ReconcileEvery), "give 1m or more; 24h is often enough")
	case e.Lumin == nil:
		return usage("RECONCILE_EVERY is set and LUMIN_API_KEY is not", "Lumin is asked with a key of the workspace: set LUMIN_API_KEY, or unset RECONCILE_EVERY")
	}
	st, err := store.New(e.DB, e.Logger)
	if err != nil {
		return err
	}
	reconcile := &jobs.Reconcile{Store: st, Lumin: e.Lumin, Repair: s.ReconcileRepair}
	registry.AddPeriodic(reconcile.Periodic(s.ReconcileEvery, e.Logger))
	return nil
}
