package monitoring

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"lumin-ingest/internal/wait"
)

// A Prometheus scrapes a service, loads the rules, and answers each query of the
// dashboard.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	program := os.Getenv("PROMETHEUS")
	if program == "" {
		found, err := exec.LookPath("prometheus")
		if err != nil {
			t.Skip("NO QUERY WAS SENT: there is no Prometheus. Install the package prometheus, or set PROMETHEUS to its path")
		}
		program = found
	}
	address := startPrometheus(t, program, startService(t).address)
	wait.Within(t, time.Minute, "Prometheus has scraped the service twice", func() bool {
		result, err := ask(address, "/api/v1/query", url.Values{"query": {"count_over_time(lumin_build_info[5m]) > 1"}})
		return err == nil && len(result.Data.Result) == 1
	})
	for _, expr := range dashboardExpressions(t) {
		if _, err := ask(address, "/api/v1/query", url.Values{"query": {expr}}); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
	var loaded struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, LastError string }
			}
		}
	}
	if err := get("http://"+address+"/api/v1/rules", &loaded); err != nil {
		t.Fatal(err)
	}
	if len(loaded.Data.Groups) != 1 || len(loaded.Data.Groups[0].Rules) != len(rules(t)) {
		t.Fatalf("Prometheus has loaded %+v", loaded)
	}
	for _, rule := range loaded.Data.Groups[0].Rules {
		if rule.LastError != "" {
			t.Errorf("%s: %s", rule.Name, rule.LastError)
		}
	}
}

// startPrometheus starts a Prometheus that scrapes a target each second, and
// returns its address.
func startPrometheus(t *testing.T, program, target string) string {
	t.Helper()
	folder := t.TempDir()
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs: [{job_name: lumin-ingest, static_configs: [{targets: [%q]}]}]\n", rules, target)
	file := filepath.Join(folder, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := exec.Command(program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address, "--log.level=error")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return address
}

// freeAddress returns an address on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answer is the answer to a query.
type answer struct {
	Status, Error string
	Data          struct{ Result []json.RawMessage }
}

func ask(address, path string, values url.Values) (a answer, err error) {
	if err := get("http://"+address+path+"?"+values.Encode(), &a); err != nil {
		return a, err
	}
	if a.Status != "success" {
		return a, fmt.Errorf("%s: %s", a.Status, a.Error)
	}
	return a, nil
}

func get(address string, answer any) error {
	response, err := http.Get(address)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(answer)
}
