package archive

// Queries whose plans are checked.
const (
	HasSQL        = hasSQL
	ListErasedSQL = listErasedSQL
	RemoveSQL     = removeSQL
)
