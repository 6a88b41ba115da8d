package app

import (
	"context"
	"fmt"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/reconcile"
	"lumin-ingest/worker/jobs/recovery"
	"lumin-ingest/worker/jobs/requeststate"
)

// luminSettings configure the client of Lumin's API.
type luminSettings struct {
	LuminAPIKey string `env:"LUMIN_API_KEY" placeholder:"KEY" help:"API key for job types that call Lumin's API, for reconcile and for recover."`
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

// recoverSettings configure the periodic recovery of events from Lumin's API.
type recoverSettings struct {
	RecoverEvery time.Duration `env:"RECOVER_EVERY" placeholder:"DURATION" help:"Interval for recovering events that Lumin has given up delivering, such as 24h. Off by default. With RECONCILE_EVERY, the shorter interval applies to both."`
}

// builtInSettings configure the built-in job types.
type builtInSettings struct {
	SignatureRequestState bool `env:"SIGNATURE_REQUEST_STATE" default:"true" negatable:"" help:"Keep the latest state of each signature request in lumin.signature_requests."`

	forwardSettings
	archiveSettings
	reconcileSettings
	recoverSettings
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
		{s.addPasses, "unset RECONCILE_EVERY and RECOVER_EVERY"},
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

// addPasses registers the periodic passes over Lumin's API: one that reconciles,
// or one that recovers and then may reconcile too, so that nothing is asked twice.
func (s builtInSettings) addPasses(_ context.Context, registry *worker.Registry, env Env) error {
	if err := s.checkPasses(env); err != nil || s.ReconcileEvery == 0 && s.RecoverEvery == 0 {
		return err
	}
	st, err := store.New(env.DB, env.Logger)
	if err != nil {
		return err
	}
	reconciler := &reconcile.Reconciler{Store: st, Lumin: env.Lumin, Repair: s.ReconcileRepair}
	if s.RecoverEvery == 0 {
		registry.AddPeriodic(reconciler.Periodic(s.ReconcileEvery, env.Logger))
		return nil
	}
	if !s.SignatureRequestState {
		env.Logger.Warn("RECOVER_EVERY finds only signature requests that are in lumin.signature_requests already: SIGNATURE_REQUEST_STATE is false")
	}
	every, recoverer := s.RecoverEvery, &recovery.Recoverer{
		Store: st, Lumin: env.Lumin, By: operate.Actor{Name: currentActor(), Via: operate.Worker}, Retain: env.retainEvents,
	}
	if s.ReconcileEvery > 0 {
		every, recoverer.Reconcile = min(every, s.ReconcileEvery), reconciler
	}
	registry.AddPeriodic(recoverer.Periodic(every, env.Logger))
	return nil
}

// checkPasses refuses settings of the periodic passes that cannot work.
func (s builtInSettings) checkPasses(env Env) error {
	if s.ReconcileEvery == 0 && s.ReconcileRepair {
		return advice.Usage("RECONCILE_REPAIR is set and RECONCILE_EVERY is not", "set RECONCILE_EVERY, such as 24h; \"%s reconcile --repair\" repairs once", invocation())
	}
	for _, p := range []struct {
		setting string
		every   time.Duration
	}{{"RECONCILE_EVERY", s.ReconcileEvery}, {"RECOVER_EVERY", s.RecoverEvery}} {
		switch {
		case p.every == 0:
		case p.every < time.Minute:
			return advice.Usage(fmt.Sprintf("%s is %s", p.setting, p.every), "give 1m or more; 24h is often enough")
		case env.Lumin == nil:
			return advice.Usage(p.setting+" is set and LUMIN_API_KEY is not", "Lumin's API requires a key of the workspace: set LUMIN_API_KEY, or unset %s", p.setting)
		}
	}
	return nil
}
