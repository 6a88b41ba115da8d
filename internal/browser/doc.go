// Package browser tests the dashboard in a real Chromium: a person signs in, finds a
// failed event, reads its error, replays it and sees it succeed. The same is done
// without scripts, on a phone and with the keyboard alone. It also checks every page
// with axe-core, in both themes.
//
// It holds only tests. They run with "make test-browser", which says where the
// pictures of the pages are.
package browser
