package app

import (
	"context"
	"fmt"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/reconcile"
	"lumin-ingest/worker/jobs/requeststate"
)

// luminSettings configure the client of Lumin's API.
type luminSettings struct {
	LuminAPIKey string `env:"LUMIN_API_KEY" placeholder:"KEY" help:"API key for job types that call Lumin's API, and for reconcile."`
	APIKeyFile  string `name:"lumin-api-key-file" env:"LUMIN_API_KEY_FILE" placeholder:"FILE" help:"File that holds the value."`
	LuminAPIURL string `name:"lumin-api-url" env:"LUMIN_API_URL" default:"https://api.luminpdf.com/v1" placeholder:"URL" help:"Address of Lumin's API. The sandbox is at https://api-sandbox.luminpdf.com/v1."`
}

// client returns a client of Lumin's API and its key, or nil without a key.
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
		return nil, "", advice.Usage(err.Error(), "check the values of LUMIN_API_KEY and LUMIN_API_URL")
	}
	return client, key, nil
}

// reconcileSettings configure the periodic comparison with Lumin's API.
type reconcileSettings struct {
	ReconcileEvery  time.Duration `env:"RECONCILE_EVERY" placeholder:"DURATION" help:"Interval for comparing lumin.signature_requests with Lumin's API, such as 24h. Off by default."`
	ReconcileRepair bool          `env:"RECONCILE_REPAIR" help:"Also repair the differences."`
}

// builtInSettings configure the built-in job types.
type builtInSettings struct {
	SignatureRequestState bool `env:"SIGNATURE_REQUEST_STATE" default:"true" negatable:"" help:"Keep the latest state of each signature request in lumin.signature_requests."`

	forwardSettings
	archiveSettings
	reconcileSettings
}

// addTo registers the built-in job types that the settings enable. It is
// called after the program has registered its own, in every role: a program
// that only receives must know which job types its events have.
func (s builtInSettings) addTo(ctx context.Context, registry *worker.Registry, env Env) error {
	for _, builtIn := range []struct {
		add func(context.Context, *worker.Registry, Env) error
		off string // advice for disabling it
	}{
		{s.addState, "set SIGNATURE_REQUEST_STATE=false"},
		{s.addForwards, "unset FORWARD_URLS"},
		{s.addArchive, "unset ARCHIVE_URL"},
		{s.addReconcile, "unset RECONCILE_EVERY"},
	} {
		if err := builtIn.add(ctx, registry, env); err != nil {
			return err
		}
		if err := registry.Err(); err != nil {
			return advice.Add(fmt.Errorf("add a built-in job type: %w", err), "remove your own job type of this Kind, give it another Kind, or %s", builtIn.off)
		}
	}
	return nil
}

func (s builtInSettings) addState(_ context.Context, registry *worker.Registry, _ Env) error {
	if s.SignatureRequestState {
		registry.AddBatch(requeststate.JobType{})
	}
	return nil
}

func (s forwardSettings) addForwards(_ context.Context, registry *worker.Registry, _ Env) error {
	jobTypes, err := s.jobTypes()
	if err != nil {
		return err
	}
	for _, jobType := range jobTypes {
		registry.Add(jobType)
	}
	return nil
}

func (s reconcileSettings) addReconcile(_ context.Context, registry *worker.Registry, env Env) error {
	switch {
	case s.ReconcileEvery == 0 && s.ReconcileRepair:
		return advice.Usage("RECONCILE_REPAIR is set and RECONCILE_EVERY is not", "set RECONCILE_EVERY, such as 24h; \"%s reconcile --repair\" repairs once", invocation())
	case s.ReconcileEvery == 0:
		return nil
	case s.ReconcileEvery < time.Minute:
		return advice.Usage(fmt.Sprintf("RECONCILE_EVERY is %s", s.ReconcileEvery), "give 1m or more; 24h is often enough")
	case env.Lumin == nil:
		return advice.Usage("RECONCILE_EVERY is set and LUMIN_API_KEY is not", "Lumin's API requires a key of the workspace: set LUMIN_API_KEY, or unset RECONCILE_EVERY")
	}
	st, err := store.New(env.DB, env.Logger)
	if err != nil {
		return err
	}
	reconciler := &reconcile.Reconciler{Store: st, Lumin: env.Lumin, Repair: s.ReconcileRepair}
	registry.AddPeriodic(reconciler.Periodic(s.ReconcileEvery, env.Logger))
	return nil
}
