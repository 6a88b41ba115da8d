// Package arrows tests two rules for the whole project: which package may
// import which, and how long files and functions may be. A new dependency
// between packages is thus a deliberate decision.
package arrows
