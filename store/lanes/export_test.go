package lanes

import "fmt"

// The statements, for a test of their plans.
var (
	ListSQL = fmt.Sprintf(laneSQL, waitingSQL)
	FindSQL = fmt.Sprintf(laneSQL, oneSQL)
	HeldSQL = heldSQL
)
