package conflict

// Names of the package that its external tests use.
const (
	ListSQL      = listSQL
	UndecidedSQL = undecidedSQL
)
