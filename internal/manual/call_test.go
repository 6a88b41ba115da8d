package manual

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// call is one call of the program in a page.
type call struct {
	at   string
	args []string
}

// calls finds the calls of the program in code blocks and in running text.
func calls(t *testing.T) []call {
	t.Helper()
	inline := regexp.MustCompile("`((?:bin/)?lumin-ingest [^`]+)`")
	var found []call
	add := func(at, line string) {
		for _, words := range shell(line) {
			if args, ok := programArgs(words); ok {
				found = append(found, call{at, args})
			}
		}
	}
	for _, page := range pages(t) {
		text := read(t, page)
		for _, b := range blocks(t, page) {
			text = strings.Replace(text, b.text, "", 1)
			for line := range strings.Lines(b.text) {
				if typed, prompt := strings.CutPrefix(line, "$ "); prompt && b.language == "console" {
					add(b.String(), typed)
				} else if b.language == "sh" {
					add(b.String(), line)
				}
			}
		}
		for _, match := range inline.FindAllStringSubmatch(text, -1) {
			add(page, match[1])
		}
	}
	return found
}

// shell splits a line into simple commands, and each command into words. It
// understands only the syntax that the pages use: quotes, pipes and comments.
func shell(line string) [][]string {
	var commands [][]string
	var words []string
	var word strings.Builder
	inWord := false
	var quote rune
	endWord := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	for _, r := range strings.TrimSpace(line) {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ':
			endWord()
		case r == '#' && !inWord:
			return append(commands, words)
		case r == '|' || r == ';' || r == '&':
			endWord()
			commands, words = append(commands, words), nil
		default:
			inWord = true
			word.WriteRune(r)
		}
	}
	endWord()
	return append(commands, words)
}

// programArgs returns the arguments that a command passes to the program. It
// returns false if the command does not call the program.
func programArgs(words []string) ([]string, bool) {
	for _, prefix := range [][]string{
		{"lumin-ingest"}, {"bin/lumin-ingest"}, {"go", "run", "."},
		{"docker", "compose", "run", "--rm", "command"},
	} {
		if len(words) > len(prefix) && slices.Equal(words[:len(prefix)], prefix) {
			return words[len(prefix):], true
		}
	}
	return nil, false
}

func TestCommandsExist(t *testing.T) {
	t.Parallel()
	found := calls(t)
	if len(found) < 10 {
		t.Fatalf("only %d calls of the program found", len(found))
	}
	p := theProgram(t)
	for _, c := range found {
		if problem := p.problem(c.args); problem != "" {
			t.Errorf("%s: lumin-ingest %s: %s", c.at, strings.Join(c.args, " "), problem)
		}
	}
	makefile := read(t, "Makefile")
	for _, page := range pages(t) {
		for _, match := range regexp.MustCompile("(?:`|\\$ )make ([a-z-]+)").FindAllStringSubmatch(read(t, page), -1) {
			if !strings.Contains(makefile, "\n"+match[1]+":") {
				t.Errorf("%s: make %s: no such target", page, match[1])
			}
		}
	}
}

// The pages show the help of make as it is in the Makefile.
func TestMakeHelp(t *testing.T) {
	t.Parallel()
	makefile, n := read(t, "Makefile"), 0
	for _, b := range blocksOf(t, "console") {
		_, output, found := strings.Cut(b.text, "$ make help\n")
		if !found {
			continue
		}
		for _, match := range regexp.MustCompile(`(?m)^  ([a-z-]+) {2,}(.*)$`).FindAllStringSubmatch(output, -1) {
			n++
			target := regexp.MustCompile(`(?m)^` + match[1] + `:.* ## ` + regexp.QuoteMeta(match[2]) + `$`)
			if !target.MatchString(makefile) {
				t.Errorf("%v: the help of make %s differs from the Makefile", b, match[1])
			}
		}
	}
	if n == 0 {
		t.Error("no page shows the help of make")
	}
}

// Every flag in the running text belongs to a command.
func TestFlagsExist(t *testing.T) {
	t.Parallel()
	all := map[string]bool{}
	for _, c := range theProgram(t).commands {
		for flag := range c.flags {
			all[flag] = true
		}
	}
	n := 0
	for _, page := range pages(t) {
		for _, match := range regexp.MustCompile("`(--[a-z-]+)[ =`]").FindAllStringSubmatch(read(t, page), -1) {
			n++
			if !all[match[1]] {
				t.Errorf("%s: no command has a flag %s", page, match[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d flags found", n)
	}
}
