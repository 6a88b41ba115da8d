package manual

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// prose is a page without the text of its blocks.
func prose(t *testing.T, page string) string {
	t.Helper()
	text := read(t, page)
	for _, b := range blocks(t, page) {
		text = strings.Replace(text, b.text, "", 1)
	}
	return text
}

// A page that begins with a list of its sections lists all of them, once, and
// in their order. A long page has such a list.
func TestContentsAreComplete(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		text := prose(t, page)
		preface, _, _ := strings.Cut(text, "\n## ")
		sections := matchesInOrder(`(?m)^## (.*)$`, text)
		listed := matchesInOrder(`\[([^\]]+)\]\(#`, matchingLines(preface))
		if len(listed) == 0 {
			if page == "docs/operate.md" || page == "docs/job-types.md" {
				t.Errorf("%s has no list of its sections", page)
			}
			continue
		}
		if !slices.Equal(listed, sections) {
			t.Errorf("%s lists its sections as\n%q\nThey are\n%q", page, listed, sections)
		}
	}
}

// matchingLines are the lines of a list of sections: links to the page itself
// with dots between them, and nothing else.
func matchingLines(preface string) string {
	line := regexp.MustCompile(`^(\[[^\]]+\]\(#[^)]+\)( · | ·$|$))+$`)
	var found []string
	for _, candidate := range strings.Split(preface, "\n") {
		if line.MatchString(candidate) {
			found = append(found, candidate)
		}
	}
	return strings.Join(found, "\n")
}

// Merges leave lines twice, or a heading without an empty line before it.
func TestNothingIsLeftOfMerges(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		var last, lastFilled string
		rows := map[string]bool{}
		for _, line := range strings.Split(prose(t, page), "\n") {
			switch {
			case regexp.MustCompile(`^(<{7}|={7}|>{7})`).MatchString(line):
				t.Errorf("%s: %q is the mark of a merge", page, line)
			case strings.HasPrefix(line, "#") && last != "":
				t.Errorf("%s: no empty line before %q", page, line)
			case len(line) > 20 && line == lastFilled:
				t.Errorf("%s: %q is there twice", page, line)
			case strings.HasPrefix(line, "|"):
				name, _, _ := strings.Cut(line[1:], " | ")
				if rows[name] && strings.HasPrefix(strings.TrimSpace(name), "`") {
					t.Errorf("%s: a table has two rows%s", page, name)
				}
				rows[name] = true
			default:
				clear(rows)
			}
			if last = line; line != "" && !strings.HasPrefix(line, "```") {
				lastFilled = line
			}
		}
	}
}
