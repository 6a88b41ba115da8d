package signaturerequest

// The statements of Merge.
const (
	InsertManySQL = insertManySQL
	SelectManySQL = selectManySQL
	UpdateManySQL = updateManySQL
)
