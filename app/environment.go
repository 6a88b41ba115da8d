package app

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// unknownSetting is an environment variable that looks like a setting of this
// program but is not one.
type unknownSetting struct {
	name    string
	nearest string // the setting that may be meant; empty if none is similar
}

// settingPrefixes begin the names of this program's settings. Few other
// programs use them.
func settingPrefixes() []string {
	return []string{"LUMIN_", "FORWARD_", "ARCHIVE_", "RETAIN_", "RECONCILE_", "RECOVER_", "ADMIN_LISTEN_", "ADMIN_DATABASE_", "ADMIN_TOKEN", "ADMIN_USER_", "ADMIN_TRUSTED_", "ADMIN_HOSTS", "ADMIN_URL", "MAX_EVENT_", "ALERT_"}
}

// serviceLink matches the variables that Kubernetes sets for each service: a
// service named lumin-ingest gives LUMIN_INGEST_PORT and others.
var serviceLink = regexp.MustCompile(`(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// unsetEmpty unsets the settings of the parser that are empty, so that they count as
// not set. Compose and shells pass on an unset variable as an empty one.
func unsetEmpty(parser *kong.Kong) {
	for _, name := range settingNames(parser.Model.Node) {
		if os.Getenv(name) == "" {
			_ = os.Unsetenv(name) // fails for invalid names only
		}
	}
}

// unknownSettings returns the variables with one of our prefixes that no
// command reads.
func unknownSettings(parser *kong.Kong, environ []string) (unknown []unknownSetting) {
	known := settingNames(parser.Model.Node)
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		ours := slices.ContainsFunc(settingPrefixes(), func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if ours && !slices.Contains(known, name) && !serviceLink.MatchString(name) {
			unknown = append(unknown, unknownSetting{name, nearestSetting(name, known)})
		}
	}
	slices.SortFunc(unknown, func(a, b unknownSetting) int { return strings.Compare(a.name, b.name) })
	return unknown
}

// nearestSetting returns the setting whose name is most similar. Names of
// settings share whole words, so it accepts more differences than [nearest]
// does.
func nearestSetting(name string, known []string) string {
	best, least := "", len(name)/2+1
	for _, candidate := range known {
		if d := editDistance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// settingNames returns the variables that a command and its subcommands read.
func settingNames(node *kong.Node) (names []string) {
	for _, flag := range node.Flags {
		names = append(names, flag.Envs...)
	}
	for _, child := range node.Children {
		names = append(names, settingNames(child)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (u unknownSetting) String() string {
	text := u.name + " is set, but this program has no such setting"
	if u.nearest != "" {
		text += ": is " + u.nearest + " meant?"
	}
	return text
}

// warnUnknownSettings prints one line per unknown setting.
func warnUnknownSettings(w io.Writer, unknown []unknownSetting) {
	for _, u := range unknown {
		fmt.Fprintf(w, "%s: warning: %s\n", programName(), u)
	}
}

// logUnknownSettings logs one line per unknown setting.
func logUnknownSettings(logger *slog.Logger, unknown []unknownSetting) {
	for _, u := range unknown {
		logger.Warn("unknown setting in the environment", "name", u.name, "nearest", u.nearest)
	}
}
