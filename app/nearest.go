package app

import (
	"cmp"
	"slices"
	"strings"
)

// nearest returns up to three known names that a misspelled or shortened name
// may mean, the most similar first.
func nearest(name string, known []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	for _, k := range known {
		distance := editDistance(strings.ToLower(name), strings.ToLower(k))
		if len(name) >= 3 && strings.HasPrefix(k, name) {
			distance = 0
		}
		if distance <= max(2, len(name)/4) && distance < len(name) {
			near = append(near, candidate{k, distance})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	names := []string{}
	for _, c := range near[:min(len(near), 3)] {
		names = append(names, c.name)
	}
	return names
}

// editDistance counts the letters that must be inserted, removed, replaced or
// swapped with a neighbor to turn a into b.
func editDistance(a, b string) int {
	from, to := []rune(a), []rune(b)
	rows := make([][]int, len(from)+1)
	for i := range rows {
		rows[i] = make([]int, len(to)+1)
		for j := range rows[i] {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
			case from[i-1] == to[j-1]:
				rows[i][j] = rows[i-1][j-1]
			default:
				rows[i][j] = 1 + min(rows[i-1][j-1], rows[i-1][j], rows[i][j-1])
			}
			if i > 1 && j > 1 && from[i-1] == to[j-2] && from[i-2] == to[j-1] {
				rows[i][j] = min(rows[i][j], 1+rows[i-2][j-2])
			}
		}
	}
	return rows[len(from)][len(to)]
}

// listedNames bounds how many names an error lists.
const listedNames = 12

// didYouMean is the advice about a name that is not known.
func didYouMean(name string, known []string) string {
	var advice []string
	if near := nearest(name, known); len(near) > 0 {
		advice = append(advice, "did you mean "+strings.Join(near, " or ")+"?")
	}
	switch {
	case len(known) == 1:
		advice = append(advice, "only "+known[0]+" is known")
	case len(known) <= listedNames:
		advice = append(advice, "known are: "+strings.Join(known, ", "))
	default:
		advice = append(advice, "some that are known: "+strings.Join(known[:listedNames], ", "))
	}
	return printable(strings.Join(advice, " "))
}
