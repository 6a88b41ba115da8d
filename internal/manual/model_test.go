package manual

import (
	"regexp"
	"strings"
	"testing"
)

// The code that the model names exists.
func TestModelNamesCode(t *testing.T) {
	t.Parallel()
	parts := regexp.MustCompile(`([a-z_/]+\.(?:go|sql)): ([A-Za-z_, ]+)`).FindAllStringSubmatch(read(t, "internal/model/claim.pml"), -1)
	for _, part := range parts {
		code := read(t, part[1])
		for name := range strings.SplitSeq(strings.TrimSpace(part[2]), ", ") {
			if !regexp.MustCompile(`(func (\(\w+ \*?\w+\) )?|FUNCTION lumin\.|\t|const )` + name + `\b`).MatchString(code) {
				t.Errorf("the model names %s, which %s does not define", name, part[1])
			}
		}
	}
	if len(parts) < 8 {
		t.Errorf("the model names only %d parts", len(parts))
	}
}
