// Package query runs an SQL statement and reads the rows of its result.
//
// Use it for every statement that returns rows and does not run for each event.
// Statements that do use the functions of pgx, so that their error text is not
// formatted when there is no error. For a single row of a few values, QueryRow
// and Scan of pgx are shorter.
//
//	names, err := query.Column[string](ctx, pool, "list sources", sourcesSQL)
//
// What it guarantees: rows are read to the end and closed, so the connection is
// free again. An error of the statement, of a row and of the connection is
// returned once, and begins with the words of the call.
package query
