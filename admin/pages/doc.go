// Package pages serves the dashboard: HTML pages for the people who operate the
// program.
//
// Use it on the admin listener, behind its access control:
//
//	dashboard := pages.New(pages.Config{Store: st, Logger: logger})
//	dashboard.Register(e.Group(""))
//
// Each page has a file with its handler and a template of the same name. The
// handler reads what the page shows; layout.html is the frame of all pages, and
// parts.html has what several of them use. parts.go has the functions of the
// templates.
//
// What it guarantees:
//
//   - Every page and every action works without JavaScript. The script only
//     refreshes regions, copies text and adds keyboard shortcuts.
//   - Text from events, errors and people stays text: no template inserts HTML
//     that it did not write itself. There is no inline script or style.
//   - A page reads bounded pages and bounded estimates, and never counts a whole
//     large table. What takes longer is counted in the background, for all
//     readers at once.
//   - Nothing in the database is changed by a GET. A change shows its plan first.
//   - The form of a page is carried out once, however often it is sent. After an error
//     it is carried out when it is sent again. A replay that was ordered all the same is
//     found then.
package pages
