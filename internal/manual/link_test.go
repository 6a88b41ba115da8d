package manual

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestLinksResolve(t *testing.T) {
	t.Parallel()
	anchor := func(heading string) string {
		heading = regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(heading), "")
		return strings.ReplaceAll(heading, " ", "-")
	}
	for _, page := range pages(t) {
		text := read(t, page)
		for _, b := range blocks(t, page) {
			text = strings.Replace(text, b.text, "", 1)
		}
		for _, match := range regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?\)`).FindAllStringSubmatch(text, -1) {
			target, fragment := match[1], match[2]
			if strings.Contains(target, "://") {
				if !strings.HasPrefix(target, "https://") {
					t.Errorf("%s: %s is not HTTPS", page, target)
				}
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if !exists(filepath.Join(root, file)) {
				t.Errorf("%s: %s does not exist", page, target)
				continue
			}
			if fragment != "" && !slices.ContainsFunc(matches(`(?m)^#+ (.*)$`, read(t, file)), func(heading string) bool {
				return anchor(heading) == fragment
			}) {
				t.Errorf("%s: %s has no heading #%s", page, file, fragment)
			}
		}
	}
}

// Every page is linked from the index.
func TestIndexIsComplete(t *testing.T) {
	t.Parallel()
	index := read(t, "docs/README.md")
	for _, page := range pages(t) {
		target, err := filepath.Rel("docs", page)
		if err != nil {
			t.Fatal(err)
		}
		if page != "README.md" && page != "docs/README.md" && !strings.Contains(index, "]("+target+")") {
			t.Errorf("docs/README.md has no link to %s", page)
		}
	}
}

// Documents contain no paths of the machine on which they were written.
func TestNoLocalPaths(t *testing.T) {
	t.Parallel()
	for _, page := range append(pages(t), "Dockerfile", "docker-compose.yml") {
		if found := regexp.MustCompile(`(?:^|[\s'"(])/(?:home|work|tmp|root|Users)/\S+`).FindString(read(t, page)); found != "" {
			t.Errorf("%s names %s", page, strings.TrimSpace(found))
		}
	}
}
