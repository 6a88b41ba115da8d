// Package arrows holds the test that keeps the project's packages from importing
// each other in circles: which package may know which is a decision, and this is
// where it is written down.
package arrows
