package operate

// The actions of the audit log.
const (
	ActionReplay          = "replay"
	ActionCancelReplay    = "cancel_replay"
	ActionDismiss         = "dismiss"
	ActionRestore         = "restore"
	ActionCancelRuns      = "cancel_runs"
	ActionRetryFollowUps  = "retry_follow_ups"
	ActionSkipLane        = "skip_lane"
	ActionPauseQueue      = "pause_queue"
	ActionResumeQueue     = "resume_queue"
	ActionRiverUI         = "river_ui" // a change in River UI
	ActionPromoteConflict = "promote_conflict"
	ActionDismissConflict = "dismiss_conflict"
	ActionRecover         = "recover"       // a pass
	ActionRecoverEvent    = "recover_event" // an event that a pass has made
	ActionImport          = "import"
	ActionErase           = "erase"
	ActionRetention       = "retention"
	ActionReveal          = "reveal" // personal data was shown
)

// Actions lists the actions in the order of the alphabet.
func Actions() []string {
	return []string{
		ActionCancelReplay, ActionCancelRuns, ActionDismiss, ActionDismissConflict, ActionErase, ActionImport, ActionPauseQueue,
		ActionPromoteConflict, ActionRecover, ActionRecoverEvent, ActionReplay, ActionRestore, ActionResumeQueue, ActionRetention,
		ActionRetryFollowUps, ActionReveal, ActionRiverUI, ActionSkipLane,
	}
}

// The ways in which a change is ordered: values of Actor.Via.
const (
	Dashboard = "dashboard"
	API       = "api"
	Command   = "command"
	Worker    = "worker" // what a program recovers periodically
)

// fromSQL is the way of changes that functions of the schema write.
const fromSQL = "sql"

// Vias lists the ways in which the changes of the log were ordered.
func Vias() []string { return []string{Dashboard, API, Command, fromSQL, Worker} }
