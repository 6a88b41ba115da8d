package pgopen

import (
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Refused is the reason why a database URL cannot be used. Of the URL it shows
// only names of options and of files, and harmless values.
type Refused struct {
	What   string // the fault, in words that follow the name of the setting
	Remedy string
}

// Error implements error.
func (e *Refused) Error() string { return "the database URL " + e.What }

const example = "write it as postgres://user:password@host:5432/database"

func refused(what, remedy string) error { return &Refused{What: what, Remedy: remedy} }

// parse reads a URL, or libpq's key=value form.
func parse(databaseURL string) (*pgxpool.Config, map[string]string, error) {
	if databaseURL == "" {
		return nil, nil, refused("is empty", example)
	}
	read := readPairs
	if scheme, _, found := strings.Cut(databaseURL, "://"); found && schemePattern.MatchString(scheme) {
		if scheme != "postgres" && scheme != "postgresql" {
			return nil, nil, refused("is not a PostgreSQL URL: it begins with another scheme", example)
		}
		read = readURL
	}
	options, err := read(databaseURL)
	if err != nil {
		return nil, nil, err
	}
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, nil, findInvalid(err, options)
	}
	return config, options, nil
}

var schemePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)

const percentEncode = "percent-encode the password: write @ as %40, / as %2F, # as %23, ? as %3F, % as %25 and : as %3A"

// readURL returns the options of a URL. It refuses a URL that a character in
// the password cuts short: pgx would take part of the password for the host,
// the database or an option, and its errors would show it.
func readURL(text string) (map[string]string, error) {
	_, rest, _ := strings.Cut(text, "://")
	authority, behind := rest, ""
	if at := strings.IndexAny(rest, "/?#"); at >= 0 {
		authority, behind = rest[:at], rest[at:]
	}
	if strings.Contains(behind, "#") {
		return nil, refused("is cut off at a #", percentEncode)
	}
	path, _, _ := strings.Cut(behind, "?")
	if strings.Contains(path, "@") || (!strings.Contains(authority, "@") && strings.Contains(behind, "@")) {
		return nil, refused("has an @ behind the host", percentEncode)
	}
	// Package url cannot parse a list of hosts, so pgx parses the hosts.
	userinfo := authority[:strings.LastIndex(authority, "@")+1]
	u, err := url.Parse("postgres://" + userinfo + "host" + behind)
	if err != nil {
		return nil, refused("is not a PostgreSQL URL", example+"; "+percentEncode)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, refused("has malformed options", "write them as ?name=value&name=value, with special characters percent-encoded")
	}
	options := make(map[string]string, len(query))
	for name, values := range query {
		if !keyPattern.MatchString(name) {
			return nil, refused("has an option without a valid name", "write options as ?name=value&name=value; "+percentEncode)
		}
		options[name] = values[len(values)-1]
	}
	return options, nil
}

// pairPattern matches one pair of libpq's key=value form.
var (
	pairPattern = regexp.MustCompile(`^\s*([^\s=']*)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(\s+|$)`)
	keyPattern  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)
)

// readPairs returns the options in libpq's key=value form. The form must name a
// host or a service: otherwise any text with an = in it would lead to the local
// socket, as the user that runs the program.
func readPairs(text string) (map[string]string, error) {
	options := map[string]string{}
	for rest := text; strings.TrimSpace(rest) != ""; {
		pair := pairPattern.FindStringSubmatch(rest)
		if pair == nil || !keyPattern.MatchString(pair[1]) {
			return nil, refused("is not a PostgreSQL URL", example)
		}
		options[pair[1]] = unquote(pair[2])
		rest = rest[len(pair[0]):]
	}
	if options["host"] == "" && options["service"] == "" {
		return nil, refused("names no host", example+", or as host=... user=... dbname=...")
	}
	return options, nil
}

var escaped = regexp.MustCompile(`\\(.)`)

func unquote(value string) string {
	if len(value) >= 2 && value[0] == '\'' {
		value = value[1 : len(value)-1]
	}
	return escaped.ReplaceAllString(value, "$1")
}

// fileError returns the error about a file, if there is one. A path with an @ is
// not shown, because it may be part of a password with special characters.
func fileError(err error) *fs.PathError {
	var file *fs.PathError
	if errors.As(err, &file) && !strings.Contains(file.Path, "@") {
		return file
	}
	return nil
}

// findInvalid finds the option that pgx cannot read. The error of pgx is not
// shown, because it may quote part of the password.
func findInvalid(err error, options map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		alone := url.URL{Scheme: "postgres", Host: "host", Path: "/x", RawQuery: url.Values{name: {options[name]}}.Encode()}
		_, aloneErr := pgxpool.ParseConfig(alone.String())
		if aloneErr == nil || name == "password" {
			continue
		}
		what := "has an invalid value for " + name
		if file := fileError(aloneErr); file != nil {
			what += ": " + file.Error()
		}
		return refused(what, "correct it, or leave "+name+" out")
	}
	if file := fileError(err); file != nil {
		return refused("names a file that cannot be read: "+file.Error(), "name another, or make it readable for this program")
	}
	return refused("is not a PostgreSQL URL", example+"; "+percentEncode)
}
