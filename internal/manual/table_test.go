package manual

import (
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// section returns the part of a page below a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(read(t, page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", page, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// rows returns the cells of the tables in a text, without their headings.
func rows(text string) [][]string {
	var rows [][]string
	inTable := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.Trim(line, "|-") == "":
			inTable = true
		case inTable:
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

func TestSettingsTable(t *testing.T) {
	t.Parallel()
	p := theProgram(t)
	defaults := settingDefaults(t)
	settings := p.settings()
	documented := map[string]bool{}
	for _, row := range rows(section(t, "docs/settings.md", "All settings")) {
		name := strings.Trim(row[0], "`* ")
		names := []string{name}
		if strings.HasSuffix(row[0], "*") {
			names = append(names, name+"_FILE")
		}
		for _, name := range names {
			documented[name] = true
			if !settings[name] {
				t.Errorf("%s is not a setting of the program", name)
			}
		}
		if got := strings.Trim(row[2], "`"); got != defaults[name] {
			t.Errorf("%s: the default is %q, the page says %q", name, defaults[name], got)
		}
	}
	for name := range settings {
		// dev reads the settings of built-in job types under other names. The
		// row of DEV_DATABASE_URL says so.
		if !documented[name] && !documented[strings.TrimPrefix(name, "DEV_")] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

// sameNames compares the names in a section with those in the code.
func sameNames(t *testing.T, what string, named, exist []string) {
	t.Helper()
	if len(exist) < 5 {
		t.Fatalf("%s in the code: %v", what, exist)
	}
	for _, name := range named {
		if !slices.Contains(exist, name) {
			t.Errorf("%s %s does not exist", what, name)
		}
	}
	for _, name := range exist {
		if !slices.Contains(named, name) {
			t.Errorf("%s %s is not on the page", what, name)
		}
	}
}

func matches(pattern, text string) []string {
	found := matchesInOrder(pattern, text)
	slices.Sort(found)
	return slices.Compact(found)
}

func matchesInOrder(pattern, text string) []string {
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

// The page on job types has a row for each default, with its value.
func TestDefaultsTable(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(read(t, "docs/job-types.md"), "\n## Settings\n")
	d := worker.Defaults{}
	want := map[string]string{
		"MaxAttempts": strconv.Itoa(d.MaxAttempts()), "Timeout": fmt.Sprintf("%.0f s", d.Timeout().Seconds()),
		"Backoff": fmt.Sprintf("%.0f s", d.Backoff(1).Seconds()), "Sources": "all", "Recovered": strconv.FormatBool(d.Recovered()), "Queue": "`" + d.Queue() + "`",
		"Priority": strconv.Itoa(d.Priority()), "BatchLimits": "64",
		"WhenFailed": map[worker.LanePolicy]string{worker.HoldLane: "`HoldLane`"}[d.WhenFailed()],
	}
	if n := reflect.TypeFor[worker.Defaults]().NumMethod(); n != len(want) {
		t.Errorf("%d defaults, want %d", n, len(want))
	}
	for _, row := range rows(text) {
		name := strings.Trim(row[0], "`")
		if value, found := want[name]; !found || !regexp.MustCompile("^"+regexp.QuoteMeta(value)+`\b|^`+regexp.QuoteMeta(value)+"$").MatchString(row[1]) {
			t.Errorf("%s: the page says %q, want %q", name, row[1], value)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("no row for %v", want)
	}
}

func TestAnswersTable(t *testing.T) {
	t.Parallel()
	var statuses, codes string
	statusOf := map[string]string{}
	for _, row := range rows(section(t, "docs/http.md", "Answers to deliveries")) {
		statuses += row[0] + "\n"
		codes += row[1] + "\n"
		for _, code := range matches("`([a-z_]+)`", row[1]) {
			statusOf[code] = row[0]
		}
	}
	source := read(t, "ingest/answer.go")
	sameNames(t, "code", matches("`([a-z_]+)`", codes), matches(`problem\(http\.Status\w+, "([a-z_]+)"`, source))
	if !strings.Contains(statuses, "200") {
		t.Error("200 is missing")
	}
	for status := 400; status < 600; status++ {
		name := strings.ReplaceAll(http.StatusText(status), " ", "")
		if name == "" {
			continue
		}
		for _, code := range matches(`problem\(http\.Status`+name+`, "([a-z_]+)"`, source) {
			// A connection that had to make room gets no answer as a rule.
			if said := statusOf[code]; said != "none" && !strings.Contains(said, strconv.Itoa(status)) {
				t.Errorf("%s is answered %d, the page says %s", code, status, said)
			}
		}
	}
}

func TestRetrySchedule(t *testing.T) {
	t.Parallel()
	text := func(d time.Duration) string {
		hours, minutes := int(d.Hours()), int(d.Minutes())%60
		if hours == 0 {
			return fmt.Sprintf("%d min", minutes)
		}
		return fmt.Sprintf("%d h %d min", hours, minutes)
	}
	var delays []string
	for _, d := range lumin.RetryDelays() {
		delays = append(delays, text(d))
	}
	last := len(delays) - 1
	for _, want := range []string{strings.Join(delays[:last], ", ") + " and " + delays[last], text(lumin.RetryWindow)} {
		if !strings.Contains(section(t, "docs/http.md", "Retries"), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestMetricsTable(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	for _, folder := range []string{"ingest", "worker", "store", "admin", "admin/access", "internal/service", "internal/alerting", "app"} {
		files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%v, %v", files, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				source.WriteString(read(t, strings.TrimPrefix(file, root)))
			}
		}
	}
	var names string
	for _, row := range rows(section(t, "docs/operate.md", "Metrics")) {
		names += row[0]
	}
	sameNames(t, "metric", matches("`(lumin_[a-z_]+)`", names), matches(`(?:Name:\s+|NewDesc\()"(lumin_[a-z_]+)"`, source.String()))
}
