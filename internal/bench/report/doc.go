// Package report holds the results of a benchmark and writes them as JSON, as a
// Markdown page and as SVG pictures.
//
// A figure is measured once per round. Its row in a table is the median with
// the smallest and the largest value. A ratio of two figures is formed within
// each round, because the speed of a machine changes between rounds; the median
// of these ratios is what a target is compared with.
//
// The pictures adapt to a dark screen by themselves and also show every value
// as text.
package report
