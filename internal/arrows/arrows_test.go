package arrows

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

const module = "lumin-ingest"

// pkg is the output of go list for one package.
type pkg struct {
	ImportPath   string
	Name         string
	Doc          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
}

// mayImport lists the packages of the project that each package may import. The
// packages in free do not depend on the project, so they need no entry.
var mayImport = map[string][]string{
	"lumin":                    nil,
	"migrations":               nil,
	"store":                    {"lumin", "migrations", "store/internal/recording", "store/internal/actor", "store/internal/estimate", "internal/cleanpool", "internal/tracing"},
	"store/replay":             {"lumin", "store", "store/catalog", "store/failures", "store/internal/estimate"},
	"store/alerts":             {"store", "store/audit", "store/catalog", "store/failures", "store/lanes"},
	"store/archive":            {"lumin", "store"},
	"store/transfer":           {"lumin", "store", "store/internal/actor"},
	"store/erasure":            {"store", "store/internal/recording"},
	"store/retention":          {"store/internal/estimate"},
	"store/internal/recording": nil,
	"store/internal/storetest": {"lumin", "store", "store/replay", "internal/pgtest", "internal/wait", "store/catalog"},
	"ingest":                   {"lumin", "store", "internal/httpguard", "internal/tracing"},
	"worker":                   {"lumin", "store", "store/erasure", "store/replay", "store/retention", "migrations", "store/catalog", "internal/cleanpool", "internal/tracing"},
	"worker/workertest":        {"lumin", "store", "worker", "migrations", "internal/pgtest", "internal/sample", "internal/wait"},
	"admin/access":             {"store/operate"},
	"admin":                    {"lumin", "store", "store/lanes", "internal/httpguard", "internal/version", "store/replay", "admin/access"},
	"admin/river":              {"admin/access", "admin/assets", "migrations", "store/operate"},
	"admin/assets":             nil,
	"admin/pages":              {"store", "store/catalog", "store/conflict", "store/failures", "store/history", "store/lanes", "store/once", "store/operate", "store/replay", "store/workload", "admin/assets", "lumin", "store/alerts", "store/audit", "store/signaturerequest", "internal/mask"},
	"admin/window": {
		"lumin", "store", "store/alerts", "store/audit", "store/catalog", "store/conflict", "store/erasure", "store/failures", "store/history", "store/lanes",
		"store/operate", "store/replay", "store/signaturerequest", "store/workload", "internal/mask",
	},
	"admin/api": {
		"admin/access", "admin/window", "lumin", "store", "store/conflict", "store/erasure", "store/failures", "store/lanes", "store/once",
		"store/operate", "store/replay", "internal/advice", "internal/jsonline", "internal/version",
	},
	"admin/api/client": {
		"admin/api", "admin/window", "lumin", "store", "store/conflict", "store/erasure", "store/failures", "store/lanes",
		"store/operate", "store/replay", "internal/advice", "internal/version",
	},
	"internal/jsonline":           nil,
	"store/once":                  nil,
	"store/audit":                 {"lumin", "store/internal/actor"},
	"store/catalog":               nil,
	"store/conflict":              {"lumin"},
	"store/doctor":                nil,
	"store/failures":              {"store/internal/estimate"},
	"store/internal/estimate":     nil,
	"store/operate":               {"lumin", "store", "store/conflict", "store/erasure", "store/failures", "store/lanes", "store/replay", "store/retention"},
	"store/history":               nil,
	"store/lanes":                 nil,
	"store/signaturerequest":      nil,
	"store/workload":              nil,
	"store/internal/actor":        {"lumin"},
	"worker/jobs/archivecontract": {"lumin", "store", "store/archive", "worker", "worker/jobs/internal/retrylater"},
	"worker/jobs/forward":         {"lumin", "worker", "worker/jobs/internal/retrylater"},
	"worker/jobs/reconcile":       {"lumin", "store", "store/signaturerequest", "worker", "worker/jobs/internal/lookup", "worker/jobs/internal/merge"},
	"worker/jobs/recovery": {
		"lumin", "store", "store/erasure", "store/operate", "store/signaturerequest", "worker",
		"worker/jobs/internal/lookup", "worker/jobs/internal/merge", "worker/jobs/reconcile",
	},
	"worker/jobs/internal/lookup":     {"lumin", "store/signaturerequest"},
	"worker/jobs/requeststate":        {"lumin", "store/signaturerequest", "worker", "worker/jobs/internal/merge"},
	"worker/jobs/internal/jobtest":    {"lumin", "store", "worker", "internal/pgtest", "internal/wait"},
	"worker/jobs/internal/merge":      {"lumin", "store/signaturerequest", "worker"},
	"worker/jobs/internal/retrylater": nil,
	"internal/service": {
		"lumin", "store", "store/alerts", "store/audit", "store/catalog", "store/history", "store/lanes", "store/operate", "store/once", "store/replay", "store/retention",
		"ingest", "worker", "admin", "admin/access", "admin/api", "admin/pages", "admin/river", "admin/window",
		"internal/advice", "internal/alerting", "internal/tracing", "internal/duration", "internal/machine", "internal/servicelog", "internal/version",
	},
	"app": {
		"lumin", "migrations", "ingest", "worker", "admin/access", "admin/api/client", "admin/window", "internal/jsonline",
		"store", "store/alerts", "store/audit", "store/catalog", "store/conflict", "store/doctor", "store/erasure", "store/failures", "store/lanes",
		"store/operate", "store/replay", "store/retention", "store/transfer",
		"worker/jobs/archivecontract", "worker/jobs/forward", "worker/jobs/reconcile", "worker/jobs/recovery", "worker/jobs/requeststate",
		"internal/advice", "internal/duration", "internal/machine", "internal/service", "internal/servicelog", "internal/cleanpool",
		"internal/pgdev", "internal/pgdownload", "internal/sample", "internal/version", "internal/alerting", "internal/tracing",
	},
	"cmd/lumin-ingest":   {"app"},
	"internal/alerting":  {"store/alerts", "store/catalog", "internal/version"},
	"internal/tracing":   nil,
	"internal/advice":    nil,
	"internal/duration":  nil,
	"internal/errtext":   nil,
	"internal/redact":    nil,
	"internal/mask":      nil,
	"internal/browser":   nil,
	"internal/pgopen":    nil,
	"internal/query":     nil,
	"internal/cleanpool": nil,
	"internal/faults": {
		"lumin", "migrations", "internal/faults/history", "internal/pgdev", "internal/pgproxy", "internal/sample",
	},
	"internal/faults/history": nil,
	"internal/faults/subject": {"app", "lumin", "worker", "internal/faults"},
	"internal/chaos":          {"internal/faults", "internal/faults/subject", "internal/measure", "internal/pgdev"},
	"internal/measure":        nil,
	"internal/pgdev":          nil,
	"internal/pgdownload":     nil,
	"internal/pgproxy":        nil,
	"internal/sample":         {"lumin"},
	"internal/luminapi":       {"lumin"},
	"internal/hostile":        nil,
	"internal/httpguard":      nil,
	"internal/machine":        nil,
	"internal/manual":         nil, // tests only
	"internal/pgversions":     {"internal/pgdev"},
	"internal/pgtest":         {"internal/pgdev", "internal/pgproxy", "migrations"},
	"internal/servicelog":     nil,
	"internal/testlog":        nil,
	"internal/version":        nil,
	"internal/wait":           nil,
	"internal/testcert":       nil,
	"internal/drills":         {"app", "lumin", "worker", "internal/faults"},

	"internal/bench": {
		"app", "lumin", "store", "store/audit", "store/catalog", "store/conflict", "store/erasure", "store/failures", "store/replay", "store/retention",
		"worker", "internal/pgdev",
		"internal/bench/load", "internal/bench/report", "internal/bench/textbook", "internal/bench/wire",
	},
	"internal/bench/load":     {"lumin", "internal/sample"},
	"internal/bench/recorder": {"lumin", "store", "internal/bench/load"},
	"internal/bench/report":   nil,
	"internal/bench/textbook": {"lumin", "internal/bench/load"}, // a reference must not share the program's code
	"internal/bench/wire":     nil,
}

// free lists the packages that every package except lumin may import.
var free = []string{"internal/errtext", "internal/pgopen", "internal/query", "internal/redact"}

// outside lists the only packages that may import a library. nil means tests
// only.
var outside = map[string][]string{
	"github.com/labstack/echo/": {"ingest", "admin", "admin/access", "admin/api", "admin/assets", "admin/pages", "admin/river", "internal/bench/textbook", "internal/service"},
	"github.com/riverqueue/": {
		"store", "worker", "worker/workertest", "migrations", "admin/river",
		"worker/jobs/forward", "worker/jobs/reconcile", "worker/jobs/recovery", "worker/jobs/internal/retrylater", "worker/jobs/internal/jobtest",
		"internal/bench/textbook",
	},
	"riverqueue.com/riverui":           {"admin/river"},
	"github.com/danielgtaylor/huma/":   {"admin/api"},
	"github.com/doyensec/safeurl":      {"worker/jobs/forward"},
	"github.com/standard-webhooks/":    {"worker/jobs/forward"},
	"gocloud.dev":                      {"worker/jobs/archivecontract", "app", "cmd/lumin-ingest"},
	"gocloud.dev/blob/fileblob":        {"app"},
	"gocloud.dev/blob/s3blob":          {"cmd/lumin-ingest"}, // each program chooses its bucket drivers
	"github.com/johannesboyne/":        nil,                  // tests only
	"github.com/golang-migrate/":       {"migrations"},
	"github.com/alecthomas/kong":       {"app"},
	"github.com/fergusstrange/":        {"internal/pgdownload"},
	"github.com/peterldowns/pgtestdb":  {"internal/pgtest"},
	"github.com/compose-spec/":         nil, // tests only, like the next three
	"github.com/rogpeppe/go-internal/": nil,
	"github.com/anishathalye/":         {"internal/faults/history"},
	"go.uber.org/goleak":               nil,
	"github.com/chromedp/":             nil,
	"pgregory.net/rapid":               nil,
	"testing": {
		"internal/measure", "internal/pgtest", "internal/testcert", "internal/testlog", "internal/wait",
		"store/internal/storetest", "worker/jobs/internal/jobtest", "worker/workertest",
	},
}

// violations lists the rules that a package breaks.
func violations(p pkg) []string {
	name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
	var found []string
	if len(p.GoFiles) == 0 {
		return nil // tests only
	}
	if strings.TrimSpace(p.Doc) == "" {
		found = append(found, p.ImportPath+" has no doc comment")
	}
	allowed, known := mayImport[name]
	for _, path := range p.Imports {
		inner, inProject := strings.CutPrefix(path, module+"/")
		switch {
		case name == "lumin" && strings.Contains(strings.SplitN(path, "/", 2)[0], "."), name == "lumin" && inProject:
			found = append(found, "lumin imports "+path+": it may import only the standard library")
		case inProject && known && !slices.Contains(allowed, inner) && !slices.Contains(free, inner):
			found = append(found, p.ImportPath+" imports "+path+", which its entry in mayImport does not allow")
		case inProject && !known && !strings.HasPrefix(name, "internal/"):
			found = append(found, p.ImportPath+" imports "+path+", but has no entry in mayImport: add one")
		}
		for library, users := range outside {
			if strings.HasPrefix(path+"/", strings.TrimSuffix(library, "/")+"/") && !slices.Contains(users, name) {
				found = append(found, p.ImportPath+" imports "+path+", which is reserved for: "+strings.Join(users, ", "))
			}
		}
	}
	return found
}

func TestArrows(t *testing.T) {
	t.Parallel()
	out := goList(t, "-json=ImportPath,Name,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports", module+"/...")
	seen := map[string]bool{}
	for decoder := json.NewDecoder(strings.NewReader(out)); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen[strings.TrimPrefix(p.ImportPath, module+"/")] = true
		for _, violation := range violations(p) {
			t.Error(violation)
		}
	}
	for _, must := range []string{"lumin", "migrations", "store", "ingest", "worker", "worker/jobs/forward", "admin", "internal/service", "app", "cmd/lumin-ingest"} {
		if !seen[must] {
			t.Errorf("package %s does not exist", must)
		}
	}
}

// Every forbidden import is reported.
func TestArrowsDetectViolations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, doc string }{
		{"lumin", module + "/store", "d"},
		{"lumin", module + "/internal/redact", "d"},
		{"lumin", "github.com/tidwall/gjson", "d"},
		{"store", module + "/ingest", "d"},
		{"store", module + "/worker", "d"},
		{"store", module + "/store/replay", "d"},
		{"store/replay", module + "/worker", "d"},
		{"store", module + "/store/retention", "d"},
		{"store", module + "/store/internal/storetest", "d"},
		{"store/retention", module + "/store/erasure", "d"},
		{"store/erasure", module + "/worker", "d"},
		{"store", module + "/store/catalog", "d"},
		{"store/audit", module + "/store", "d"},
		{"store", "github.com/labstack/echo/v4", "d"},
		{"ingest", module + "/worker", "d"},
		{"ingest", module + "/admin", "d"},
		{"ingest", "github.com/riverqueue/river", "d"},
		{"worker", module + "/ingest", "d"},
		{"worker", "github.com/labstack/echo/v4/middleware", "d"},
		{"admin", module + "/ingest", "d"},
		{"admin", module + "/worker", "d"},
		{"admin", module + "/app", "d"},
		{"migrations", module + "/store", "d"},
		{"migrations", module + "/ingest", "d"},
		{"ingest", module + "/worker/jobs/forward", "d"},
		{"worker", module + "/worker/jobs/forward", "d"},
		{"worker/jobs/forward", module + "/worker/jobs/archivecontract", "d"},
		{"worker/jobs/forward", "gocloud.dev/blob", "d"},
		{"worker/jobs/requeststate", "github.com/doyensec/safeurl", "d"},
		{"app", "github.com/doyensec/safeurl", "d"},
		{"worker", "gocloud.dev/blob", "d"},
		{"worker/jobs/archivecontract", "gocloud.dev/blob/s3blob", "d"},
		{"worker/jobs/archivecontract", "github.com/johannesboyne/gofakes3", "d"},
		{"worker/jobs/archivecontract", module + "/internal/luminapi", "d"},
		{"app", module + "/admin", "d"},
		{"app", "github.com/labstack/echo/v4", "d"},
		{"app", "github.com/riverqueue/river", "d"},
		{"internal/service", module + "/app", "d"},
		{"internal/service", module + "/worker/jobs/forward", "d"},
		{"internal/service", "github.com/alecthomas/kong", "d"},
		{"internal/advice", module + "/store", "d"},
		{"store", module + "/internal/advice", "d"},
		{"worker", module + "/internal/service", "d"},
		{"app", module + "/internal/pgtest", "d"},
		{"app", module + "/worker/workertest", "d"},
		{"worker/jobs/forward", module + "/worker/workertest", "d"},
		{"cmd/lumin-ingest", module + "/ingest", "d"},
		{"newcomer", module + "/store", "d"},
		{"store", "testing", "d"},
		{"store", "fmt", ""},
	} {
		p := pkg{ImportPath: module + "/" + c.from, Doc: c.doc, GoFiles: []string{"x.go"}, Imports: []string{c.to}}
		if got := violations(p); len(got) != 1 {
			t.Errorf("%s imports %s, doc %q: violations %q, want one", c.from, c.to, c.doc, got)
		}
	}
	for _, p := range []pkg{
		{ImportPath: module + "/admin", Doc: "d", GoFiles: []string{"x.go"}, Imports: []string{module + "/store", "fmt", "github.com/labstack/echo/v4"}},
		{ImportPath: module + "/lumin", Doc: "d", GoFiles: []string{"x.go"}, Imports: []string{"encoding/json"}},
		{ImportPath: module + "/documents", XTestGoFiles: []string{"x_test.go"}},
	} {
		if got := violations(p); len(got) != 0 {
			t.Errorf("%s: violations %q, want none", p.ImportPath, got)
		}
	}
}
