package manual

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// pages lists the documents.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(found) == 0 {
		t.Fatalf("pages %v, %v", found, err)
	}
	names := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
	for _, page := range found {
		names = append(names, filepath.Join("docs", filepath.Base(page)))
	}
	return names
}

// block is a fenced part of a page.
type block struct {
	page, language, text string
	line                 int
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

func blocks(t *testing.T, page string) []block {
	t.Helper()
	var all []block
	var open *block
	n := 0
	for line := range strings.Lines(read(t, page)) {
		n++
		fence, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case isFence && open == nil:
			open = &block{page: page, language: fence, line: n}
			if fence == "" {
				t.Errorf("%v: the block has no language", open)
			}
		case isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		t.Errorf("%v: the block does not end", open)
	}
	return all
}

func blocksOf(t *testing.T, language string) []block {
	t.Helper()
	var found []block
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			if b.language == language {
				found = append(found, b)
			}
		}
	}
	return found
}
