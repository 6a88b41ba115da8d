package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store/lanes"
)

type lanesCommand struct {
	List lanesListCommand `cmd:"" help:"List lanes that wait or that a failed run holds, the longest wait first. A lane is the runs of one ordered job type for one signature request."`
	Skip lanesSkipCommand `cmd:"" help:"Dismiss the failed run that holds a lane, so that the next event of the signature request is worked."`
}

type lanesListCommand struct {
	listSettings
	Held             bool     `help:"Only lanes that a failed run holds."`
	Kind             []string `help:"Only of these job types."`
	SignatureRequest string   `placeholder:"ID" help:"Only of this signature request."`
	Limit            int      `default:"50" help:"Show at most this many."`
}

func (c *lanesListCommand) Run(ctx context.Context, std streams) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	return list(ctx, std, c.listSettings, laneListing(), func(w operatorWindow) ([]lanes.Lane, error) {
		if _, err := checkOrdered(ctx, w, c.Kind); err != nil {
			return nil, err
		}
		if c.SignatureRequest != "" {
			if err := checkRequests(ctx, w, []string{c.SignatureRequest}); err != nil {
				return nil, err
			}
		}
		return w.Lanes(ctx, lanes.Filter{
			Kinds: c.Kind, SignatureRequestID: c.SignatureRequest, Held: c.Held, Limit: c.Limit,
		})
	})
}

func laneListing() listing[lanes.Lane] {
	return listing[lanes.Lane]{
		empty:    "no lane waits",
		headings: []string{"JOB TYPE", "SIGNATURE REQUEST", "HEAD", "EVENT TIME", "STATE", "AGE", "WAITING", "HELD BY"},
		cells: func(l lanes.Lane) []string {
			return []string{
				l.Kind, l.SignatureRequestID, strconv.FormatInt(l.HeadEventID, 10), timeCell(&l.HeadEventTime), l.HeadState,
				ageCell(l), strconv.FormatInt(l.Waiting, 10), heldCell(l),
			}
		},
		cut: []string{"HELD BY"},
	}
}

// ageCell is how long a lane has been waiting.
func ageCell(l lanes.Lane) string {
	if l.Since == nil {
		return "-"
	}
	return approxDuration(time.Duration(l.Age * float64(time.Second)))
}

// heldCell names the event whose failed run holds a lane, and its error.
func heldCell(l lanes.Lane) string {
	if !l.Held() {
		return "-"
	}
	return fmt.Sprintf("event %d: %s", *l.HeldBy, errorCell(l.Error))
}

// holds is the policy of ordered job types whose failed runs hold their lanes.
const holds = "hold"

// checkOrdered refuses job types that do not exist or are not ordered, and
// returns the policies of all ordered job types.
func checkOrdered(ctx context.Context, w operatorWindow, kinds []string) (map[string]string, error) {
	if err := checkKinds(ctx, w, kinds); err != nil {
		return nil, err
	}
	policies, err := w.LanePolicies(ctx)
	if err != nil {
		return nil, err
	}
	for _, kind := range kinds {
		if _, ordered := policies[kind]; ordered {
			continue
		}
		remedy := "no job type is ordered; \"failures\" lists failed runs"
		if len(policies) > 0 {
			remedy = didYouMean(kind, slices.Sorted(maps.Keys(policies))) + "; \"failures\" lists the failed runs of other job types"
		}
		return nil, advice.Usage("job type "+kind+" is not ordered, so it has no lanes", "%s", remedy)
	}
	return policies, nil
}
