package lanes

import "fmt"

// The statements, for a test of their plans.
var (
	ListSQL = fmt.Sprintf(laneSQL, listSQL)
	FindSQL = fmt.Sprintf(laneSQL, findSQL)
	HeldSQL = heldSQL
)
