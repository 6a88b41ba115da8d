package app

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// canaries are random texts of each kind that must not be shown, by name.
type canaries map[string]string

func newCanaries() canaries {
	c := canaries{}
	for _, name := range []string{
		"account key", "app secret", "API key", "forward secret", "token", "title", "signer", "email", "query of a target",
	} {
		c[name] = "cnry" + strings.ToLower(rand.Text())[:16]
	}
	c["email"] += "@example.com"
	c["forward secret"] = base64.StdEncoding.EncodeToString([]byte(c["forward secret"] + c["token"]))
	return c
}

// body is a delivery that holds the canaries of a body.
func (c canaries) body(request string, eventType lumin.EventType, at time.Time, variant string) []byte {
	details := "https://sign.example.com/requests/" + request + "?token=" + c["token"] + variant
	body, err := json.Marshal(map[string]any{
		"event": map[string]any{"event_time": at.UnixMilli(), "event_type": eventType, "event_metadata": map[string]any{"signer_email": variant + c["email"]}},
		"signature_request": map[string]any{
			"signature_request_id": request, "title": c["title"], "reason": c["title"], "status": lumin.StatusApproved, "details_url": details,
			"signers": []any{map[string]any{"name": c["signer"], "email": c["email"]}},
		},
	})
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return body
}

// sign signs a body. The signature is a canary too.
func (c canaries) sign(body []byte, key string) string {
	signature := lumin.Sign(body, key)
	c["signature "+signature[:8]] = signature
	return signature
}

// found returns the names of the canaries that a text shows in any encoding.
func (c canaries) found(text string) (names []string) {
	lower := strings.ToLower(text)
	for name, canary := range c {
		for _, form := range folded(canary) {
			if strings.Contains(lower, strings.ToLower(form)) {
				names = append(names, name)
			}
		}
		for _, form := range inBase64(canary) {
			if strings.Contains(text, form) {
				names = append(names, name+" in Base64")
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// folded are forms of a text in which case does not matter.
func folded(text string) []string {
	var escaped, decimal strings.Builder
	for _, b := range []byte(text) {
		fmt.Fprintf(&escaped, `\u%04x`, b)
		fmt.Fprintf(&decimal, "%d ", b)
	}
	return []string{
		text, hex.EncodeToString([]byte(text)), url.QueryEscape(text), url.QueryEscape(url.QueryEscape(text)), html.EscapeString(text),
		strings.ReplaceAll(text, "@", `\u0040`), strings.ReplaceAll(text, "@", "&#64;"), escaped.String(), strings.TrimSpace(decimal.String()),
		strings.ReplaceAll(text, "@", " at "), strings.Join(strings.Split(text, ""), "\x00"),
	}
}

// inBase64 are the parts of the Base64 of any text with this text in it that do
// not depend on what surrounds it. A signature may also be encoded from its
// bytes.
func inBase64(text string) (forms []string) {
	texts := []string{text, strings.ToUpper(text)}
	if raw, err := hex.DecodeString(text); err == nil {
		texts = append(texts, string(raw))
	}
	for _, text := range texts {
		for before := range 3 {
			encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + text))
			whole := (before + len(text)) / 3 * 4
			forms = append(forms, encoded[[]int{0, 2, 3}[before]:whole])
		}
	}
	for _, form := range forms {
		forms = append(forms, strings.NewReplacer("+", "-", "/", "_").Replace(form))
	}
	return forms
}

// The search finds each canary in each encoding.
func TestCanarySearch(t *testing.T) {
	t.Parallel()
	c := newCanaries()
	c.sign(c.body("r", "t", time.UnixMilli(0), ""), c["account key"])
	for name, canary := range c {
		raw, _ := hex.DecodeString(canary)
		for _, text := range []string{
			canary, strings.ToUpper(canary), "x" + canary + "y", fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("%q", canary), url.QueryEscape("ü " + canary),
			fmt.Sprint([]byte(canary)), base64.StdEncoding.EncodeToString([]byte("a" + canary + "bc")), base64.RawURLEncoding.EncodeToString([]byte("ab" + canary)),
			base64.StdEncoding.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString(append([]byte("ab"), raw...)),
		} {
			if len(raw) == 0 && text == "YWI=" {
				continue // canary is not in hexadecimal
			}
			if len(c.found("before "+text+" behind")) == 0 {
				t.Errorf("%s is not found in %q", name, text)
			}
		}
	}
	if found := c.found(documentedBody + fmt.Sprint(newCanaries())); len(found) > 0 {
		t.Errorf("found %q in a text without them", found)
	}
}

// No canary of a run that provokes errors of all kinds is in the log, in an
// answer, in the metrics, in the output of a command, or in the database
// outside of the columns that hold it by design.
func TestCanary(t *testing.T) {
	t.Parallel()
	r := startCanaryRun(t)
	r.provokeAnswers()
	r.provokeOutage()
	r.provokeFailures()
	r.runCommands(r.url)
	r.runCommands("postgres://" + sample.RandomHex(4) + ":" + r.canaries["account key"] + "@127.0.0.1:1/none")
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/" + r.canaries["token"]} {
		status, text := get("http://" + r.AdminAddr() + path)
		r.collect(fmt.Sprintf("GET %.8s: %d", path, status), text)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	r.collect("log", r.log.String())
	if !strings.Contains(r.log.String(), "leaky_panic") || !strings.Contains(r.log.String(), "goroutine ") {
		t.Error("the log has no panic with its stack")
	}
	r.collect("spans", r.spans.String())
	if spans := r.spans.String(); !strings.Contains(spans, "exception") || !strings.Contains(spans, "attempt leaky_tx") {
		t.Error("the spans show no error")
	}
	for what, text := range r.collected {
		if found := r.canaries.found(text); len(found) > 0 {
			t.Errorf("%s shows %q: %s", what, found, text[:min(len(text), 3000)])
		}
	}
	searchDatabase(t, r)
}

// byDesign lists the columns that hold bodies, signatures and what the job type
// signature_request_state keeps of a body.
func byDesign() map[string]string { // with a value that contains no canary
	return map[string]string{
		"lumin.events.payload": `''`, "lumin.events.signature": `''`, "lumin.redeliveries.payload": `''`, "lumin.redeliveries.signature": `''`,
		"lumin.signature_requests.title": `''`, "lumin.signature_requests.reason": `''`,
	}
}

// searchDatabase reads every column of every table, then empties those that
// hold canaries by design and searches a dump of the database.
func searchDatabase(t *testing.T, r *canaryRun) {
	t.Helper()
	conn := pgtest.Conn(t, r.url)
	rows, _ := conn.Query(t.Context(), `
		SELECT format('%s.%s.%s', c.table_schema, c.table_name, c.column_name), format('%I.%I', c.table_schema, c.table_name), quote_ident(c.column_name)
		FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema') AND t.table_type = 'BASE TABLE'`) // its error is that of the rows
	type column struct{ Name, Table, Column string }
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	if err != nil || len(columns) < 100 {
		t.Fatalf("%d columns, %v", len(columns), err)
	}
	allowed := byDesign()
	for _, column := range columns {
		text := pgtest.Value[string](t, conn, fmt.Sprintf(`SELECT coalesce(string_agg(%s::text, E'\n'), '') FROM %s`, column.Column, column.Table))
		found := r.canaries.found(text)
		empty, may := allowed[column.Name]
		switch {
		case may && len(found) == 0:
			t.Errorf("%s holds no canary: the search does not work, or the list is wrong", column.Name)
		case may:
			pgtest.Exec(t, conn, fmt.Sprintf(`UPDATE %[1]s SET %[2]s = %[3]s WHERE %[2]s IS NOT NULL`, column.Table, column.Column, empty))
		case len(found) > 0:
			t.Errorf("%s holds %q: %.2000s", column.Name, found, text)
		}
	}
	t.Run("dump", func(t *testing.T) {
		if found := r.canaries.found(dump(t, r.url)); len(found) > 0 {
			t.Errorf("the dump holds %q", found)
		}
	})
}

// dump returns the output of pg_dump. It skips the test if there is none that can
// read this server.
func dump(t *testing.T, databaseURL string) string {
	t.Helper()
	program, err := exec.LookPath("pg_dump")
	if err != nil {
		installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
		if len(installed) == 0 {
			t.Skip("pg_dump is not installed: a dump was NOT searched")
		}
		program = installed[len(installed)-1]
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "--dbname", databaseURL)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && strings.Contains(stderr.String(), "server version mismatch") {
		t.Skip("pg_dump is too old for this server: a dump was NOT searched")
	}
	if err != nil || !bytes.Contains(out, []byte("COPY lumin.events")) {
		t.Fatalf("pg_dump: %v\n%s", err, &stderr)
	}
	return string(out)
}

// leakText is the text of an error as careless code makes it.
func (c canaries) leakText() string {
	return fmt.Sprintf("401 Unauthorized for %s at https://sign.example.com/x?token=%s: map[X-Api-Key:[%s]], X-Signature: %s, Authorization: Bearer %s, whsec_%s",
		c["email"], c["token"], c["API key"], c["account key"], c["app secret"], c["forward secret"])
}
