package pages

import "lumin-ingest/store/replay"

// nothing says why an order would change no run.
func (o order) nothing(left replay.Excluded) string {
	if left.Bodiless+left.Dismissed > 0 {
		return "No other run matches."
	}
	if o.Do == doRestore {
		return "No dismissed run matches any more. Someone may have restored them, or retention has removed them."
	}
	switch o.Filter.Status {
	case replay.Unrecognized:
		return "No unrecognized event that matches can be decoded now. Replay them after an update that reads such bodies."
	case replay.Missing:
		return "No run is missing: each event that matches has one of every chosen job type that subscribes to it. Late events do not count here."
	case replay.Late:
		return "No late event that matches lacks a run. Someone may have replayed or dismissed them, or no job type subscribes to them."
	case replay.Retrying:
		return "No run that matches waits for its next attempt. They may have succeeded or failed, or someone has acted on them."
	case replay.Cancelled:
		return "No cancelled run matches any more. Someone may have replayed them, or retention has removed them."
	case replay.Succeeded:
		return "No succeeded run matches any more. Someone may have replayed them, or retention has removed them."
	}
	return "No failed run matches any more. Someone may have acted on them, or they have been retried."
}
