package store

// The queries whose plans are checked.
const (
	HasArchivedFileSQL     = hasArchivedFileSQL
	ErasedArchivedFilesSQL = erasedArchivedFilesSQL
)
