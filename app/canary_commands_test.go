package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
)

// canaryCommand is a command to run on a database with canaries.
type canaryCommand struct {
	args    []string
	in      string // standard input
	plain   bool   // has no --output
	local   bool   // has no --database-url
	refused bool   // exits with 2, because it refuses
	shows   bool   // prints bodies by design, so only its errors are searched
}

// commands are all commands that end on their own, with arguments that make them
// print much.
func (r *canaryRun) commands() []canaryCommand {
	c := r.canaries
	secrets := []string{"--lumin-account-api-keys", c["account key"], "--lumin-app-secrets", "demo=" + c["app secret"]}
	api := []string{"--lumin-api-key", c["API key"], "--lumin-api-url", r.elsewhere.URL, "--rate", "100"}
	key, reason := []string{"--key", c["account key"]}, "asked by "+c["email"]
	body := c.body("request-9", lumin.SignatureRequestSigned, time.Now(), "")
	trigger := slices.Concat([]string{"trigger", "signed", "--url", "http://" + r.PublicAddr()}, key)
	damaged := fmt.Sprintf("%s\n{%q:%q,%q:%q}\n", c.leakText(), "payload", base64.StdEncoding.EncodeToString(body), "source", "account")
	return slices.Concat(r.reading(), []canaryCommand{
		{args: []string{"events", "import", "-", "--on-damaged", "skip"}, in: damaged}, {args: []string{"events", "import", "-"}, in: damaged},
		{args: []string{"replay", "--failed", "--reason", reason}}, {args: []string{"replays", "show", "1"}}, {args: []string{"replays", "cancel", "1"}, plain: true}, {args: []string{"replays", "watch", "1"}},
		{args: []string{"conflicts", "promote", "1", "--reason", reason}, plain: true, refused: true}, {args: []string{"conflicts", "dismiss", "1", "--reason", reason}, plain: true},
		{args: []string{"failures", "dismiss", "--all", "--reason", reason, "--yes"}, plain: true}, {args: []string{"failures", "restore", "--all", "--reason", reason, "--yes"}, plain: true},
		{args: []string{"lanes", "skip", "--kind", "leaky_error", "--signature-request", "request-1", "--reason", reason, "--yes"}, refused: true},
		{args: []string{"follow-ups", "retry", "--all", "--reason", reason}, plain: true},
		{args: []string{"queues", "pause", "default", "--reason", reason}, plain: true}, {args: []string{"queues", "resume", "default", "--reason", reason}, plain: true},
		{args: []string{"erase", "--signature-request", "request-1", "--reason", reason, "--dry-run"}},
		{args: []string{"erase", "--signature-request", "request-2", "--reason", reason}}, {args: []string{"erase", "--email", c["email"], "--reason", reason, "--dry-run"}},
		{args: []string{"retention", "--retain-events", "30d", "--retain-payloads", "30d", "--dry-run"}},
		{args: slices.Concat([]string{"reconcile"}, api)}, {args: slices.Concat([]string{"recover", "--signature-request", "request-1", "--now", "--dry-run"}, api)},
		{args: slices.Concat([]string{"recover", "--signature-request", "request-1", "--now", "--yes"}, api)},
		{args: slices.Concat([]string{"replay", "--failed", "--try", "--yes"}, api[:4])},
		{args: slices.Concat([]string{"doctor", "--public-url", "http://" + r.PublicAddr()}, secrets)}, {args: slices.Concat([]string{"audit"}, secrets)}, {args: slices.Concat([]string{"keys"}, secrets)},
		{args: trigger, local: true}, {args: append(slices.Clone(trigger), "--bad-signature"), local: true},
		{args: slices.Concat([]string{"sign"}, key), in: string(body) + " ", plain: true, local: true}, // whose signature is no canary
		{args: slices.Concat([]string{"verify", "--signature", c.sign(body, c["account key"])}, key), in: string(body), plain: true, local: true},
		{args: slices.Concat([]string{"verify", "--signature", c.sign(body, c["title"])}, key), in: string(body), plain: true, local: true},
		{args: slices.Concat([]string{"verify", "--signature", c["token"]}, key), in: string(body), plain: true, local: true, refused: true},
		{args: []string{"alerts", "test", "--alert-webhook-url", r.elsewhere.URL + "/?token=" + c["token"]}, plain: true, local: true},
		{args: []string{"token", "new", "--name", "ann", "--role", "read"}, local: true}, {args: []string{"version"}, plain: true, local: true},
		{args: []string{"health", "--address", r.AdminAddr()}, plain: true, local: true},
		{args: []string{"migrate", "up"}, plain: true}, {args: []string{"migrate", "status"}, plain: true}, {args: []string{"migrate", "roles", "--print"}, plain: true},
		{args: []string{"migrate", "down", strconv.Itoa(migrations.Latest())}, plain: true, refused: true},
	})
}

// reading are the commands that only read.
func (r *canaryRun) reading() (all []canaryCommand) {
	for _, line := range []string{
		"events list", "events list --unrecognized", "events tail", "events show request-1", "events show 1", "conflicts list", "conflicts show 1", "failures list",
		"follow-ups list", "lanes list", "alerts list", "alerts check", "audit-log", "replays list", "replay --failed --dry-run", "queues list", "status",
	} {
		all = append(all, canaryCommand{args: strings.Fields(line)})
	}
	return append(all, canaryCommand{args: []string{"events", "payload", "1"}, plain: true, shows: true}, canaryCommand{args: []string{"conflicts", "show", "1", "--reveal"}, shows: true},
		canaryCommand{args: []string{"events", "list", "--payload", "--output", "json"}, plain: true, shows: true})
}

// name is the name of the command, without its arguments.
func (c canaryCommand) name(all []string) string {
	if two := strings.Join(c.args[:min(2, len(c.args))], " "); slices.Contains(all, two) {
		return two
	}
	return c.args[0]
}

// runCommands runs all commands on a database, and collects what they print.
func (r *canaryRun) runCommands(databaseURL string) {
	r.t.Helper()
	all := allCommands(r.t)
	left := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == "serve" || name == "dev" }) // they run until they are stopped
	for _, c := range r.commands() {
		name := c.name(all)
		left = slices.DeleteFunc(left, func(other string) bool { return other == name })
		for _, output := range []string{"table", "json"} {
			args := slices.Clone(c.args)
			if !c.local {
				args = append(args, "--database-url", databaseURL)
			}
			if !c.plain {
				args = append(args, "--output", output)
			} else if output == "json" {
				break
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			var out, errs bytes.Buffer
			code := run(ctx, args, streams{in: strings.NewReader(c.in), out: &out, err: &errs}, r.jobTypes)
			cancel()
			if code == 2 && !c.refused {
				r.t.Errorf("%s was called wrongly: %s", name, &errs)
			}
			text := errs.String()
			if !c.shows {
				text += out.String()
			}
			r.collect(fmt.Sprintf("output of %s (%s)", name, output), text)
		}
	}
	if len(left) > 0 {
		r.t.Errorf("commands that were not run: %q", left)
	}
}

// allCommands returns the names of all commands.
func allCommands(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (.+)$`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, heading[1])
	}
	if len(names) < 40 {
		t.Fatalf("only %d commands: %q", len(names), names)
	}
	return names
}
