package api

// cut reads a list of at most limit rows, and reports whether there are more.
func cut[T any](limit int, read func(limit int) ([]T, error)) (rows []T, more bool, err error) {
	rows, err = read(limit + 1)
	if len(rows) <= limit {
		return rows, false, err
	}
	return rows[:limit], true, err
}
