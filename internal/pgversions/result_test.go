//go:build unix

package main

import (
	"bufio"
	"errors"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	t.Parallel()
	const events = `{"Action":"start","Package":"lumin-ingest/a"}
{"Action":"output","Package":"lumin-ingest/a","Test":"TestGood","Output":"noise\n"}
{"Action":"pass","Package":"lumin-ingest/a","Test":"TestGood"}
{"Action":"output","Package":"lumin-ingest/a","Test":"TestOld","Output":"=== RUN   TestOld\n"}
{"Action":"output","Package":"lumin-ingest/a","Test":"TestOld","Output":"    old_test.go:7: too old: NOT tested\n"}
{"Action":"skip","Package":"lumin-ingest/a","Test":"TestOld"}
{"Action":"output","Package":"lumin-ingest/a","Test":"TestBad","Output":"it is bad\n"}
{"Action":"fail","Package":"lumin-ingest/a","Test":"TestBad"}
{"Action":"fail","Package":"lumin-ingest/a"}
{"Action":"build-output","ImportPath":"lumin-ingest/b","Output":"it does not compile\n"}
{"Action":"build-fail","ImportPath":"lumin-ingest/b"}
{"Action":"skip","Package":"lumin-ingest/c"}
`
	var r result
	check(t, r.read(bufio.NewScanner(strings.NewReader(events))))
	if r.passed != 1 || r.failed != 1 || len(r.skipped) != 1 {
		t.Errorf("%d passed, %d failed, %d skipped", r.passed, r.failed, len(r.skipped))
	}
	details := r.details()
	for _, want := range []string{"skipped a TestOld: too old: NOT tested\n", "it is bad\n", "it does not compile\n"} {
		if !strings.Contains(details, want) {
			t.Errorf("%q is missing in\n%s", want, details)
		}
	}
	if strings.Contains(details, "noise") {
		t.Errorf("the output of a test that passed is shown:\n%s", details)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	good := result{major: 14, version: "14.1", passed: 1}
	bad := result{major: 15, version: "15.1", passed: 1, failed: 1, err: errors.New("exit status 1")}
	idle := result{major: 16, version: "16.1"}
	missing := result{major: 17, missing: errors.New("not installed")}
	for name, test := range map[string]struct {
		results []result
		good    bool
	}{
		"good":              {[]result{good}, true},
		"one is missing":    {[]result{good, missing}, true},
		"a test failed":     {[]result{good, bad}, false},
		"no test was run":   {[]result{good, idle}, false},
		"all are missing":   {[]result{missing}, false},
		"nothing was asked": {nil, false},
	} {
		if err := verdict(test.results); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text := summary([]result{good, missing}); !strings.Contains(text, "| 14.1 | 1 | 0 | 0 |") || !strings.Contains(text, "| 17 | NOT TESTED: not installed |") {
		t.Errorf("the summary is\n%s", text)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-versions", " 14  18 ", "-run", "X", "./store"})
	if check(t, err); len(o.versions) != 2 || o.versions[1] != 18 || o.run != "X" || len(o.packages) != 1 {
		t.Errorf("parsed %+v", o)
	}
	for _, versions := range []string{"", "14,18", "15.2"} {
		if o, err := parse([]string{"-versions", versions}); err == nil {
			t.Errorf("-versions %q is accepted as %v", versions, o.versions)
		}
	}
}
