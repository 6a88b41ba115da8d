// Package arrows tests the import rules of the project. Its test lists which
// package may import which, so that a new dependency between packages is a
// deliberate decision.
package arrows
