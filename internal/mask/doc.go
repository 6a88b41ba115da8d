// Package mask hides personal data and secrets in the bodies of deliveries, for
// people who have not asked to see them.
//
// Use it wherever a body, or a text from a body, is shown:
//
//	text, ok := mask.JSON(payload) // ok is false if nothing of it can be shown
//
// It hides addresses, the local part of an e-mail address except its first letter,
// queries and fragments of URLs, names and phone numbers of people by the name of
// their member, and credentials. Everything else stays as it is written, so that
// a reader can compare the text with the body.
//
// What it guarantees:
//
//   - A body that is not valid JSON is not shown at all.
//   - Every string of a body is examined, also the names of members.
//   - The result is valid JSON with the same structure and the same numbers.
//   - Each at sign of the result follows dots, and no URL has a query.
//
// Titles and reasons are free text and may hold a name. They are shown, without
// the addresses in them.
package mask
