// Package assets serves the files that the pages of the admin listener share: the
// style sheet, the script and the icon.
//
// Use it in every room that answers with HTML, so that all pages look alike:
//
//	assets.Register(group)                  // serves /assets/...
//	path := assets.Path("app.css")          // for the link in a page
//
// It guarantees that a changed file has a changed path. So browsers keep a file
// for a year and never show an old one. The files hold no data, and need no
// sign-in.
package assets
