package pgopen

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ownOptions are options that the program sets itself and ignores in a URL.
// Some belong to pgx, some to libpq, and some to the session.
//
//nolint:gochecknoglobals // a constant, but Go has no constant slices
var ownOptions = []string{
	// The sizes and lifetimes of a pool depend on its use.
	"pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter",
	"pool_max_conn_idle_time", "pool_health_check_period", "pool_ping_timeout",

	// Statements are prepared, or described once. Other modes of pgx guess the
	// types of arguments, and can guess wrong.
	"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity",

	// See session.
	"client_encoding", "default_transaction_isolation", "standard_conforming_strings",
	"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout",
	"tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout",

	// libpq's names for the settings that dial makes.
	"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",

	// libpq's options that pgx does not know and that are safe to ignore.
	"fallback_application_name", "sslcompression", "requiressl", "tty", "load_balance_hosts",
}

// unsupported are options of libpq that pgx does not know. It would send them
// to the server, which refuses the connection. Ignoring one of them could make
// the connection less secure, or lead to another server.
//
//nolint:gochecknoglobals // a constant, but Go has no constant slices
var unsupported = []string{
	"hostaddr", "replication", "requirepeer", "sslcrl", "sslcrldir", "sslkeylogfile", "ssl_min_protocol_version", "ssl_max_protocol_version",
	"scram_client_key", "scram_server_key", "gsslib", "gssdelegation", "authtype",
	"oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope",
}

// addSettings adds the program's own settings to a configuration, and refuses
// options that would stop it from working.
func (o Options) addSettings(config *pgxpool.Config, options map[string]string) error {
	params := config.ConnConfig.RuntimeParams
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if slices.Contains(unsupported, strings.ToLower(name)) {
			return refused("has the option "+name+", which this program does not support", "leave it out")
		}
	}
	if mode := params["gssencmode"]; mode == "require" {
		return refused("has gssencmode=require, which this program does not support", "leave it out, and use sslmode to encrypt")
	}
	if err := o.refuseSession(options, params); err != nil {
		return err
	}
	params["application_name"] = cmp.Or(params["application_name"], params["fallback_application_name"], o.Name, "lumin-ingest")
	for _, name := range append([]string{"gssencmode"}, ownOptions...) {
		delete(params, name)
	}
	for name := range params {
		if slices.Contains(ownOptions, strings.ToLower(name)) { // the server ignores case
			delete(params, name)
		}
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	config.ConnConfig.StatementCacheCapacity, config.ConnConfig.DescriptionCacheCapacity = cacheCapacity, cacheCapacity
	return nil
}

// cacheCapacity is pgx's default.
const cacheCapacity = 512

// refuseSession refuses session settings that would break a guarantee or
// prevent all writes.
func (o Options) refuseSession(options, params map[string]string) error {
	settings := maps.Clone(params)
	for _, match := range switchPattern.FindAllStringSubmatch(params["options"], -1) {
		settings[strings.ReplaceAll(match[1], "-", "_")] = match[2]
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := strings.ToLower(strings.TrimSpace(settings[name]))
		switch strings.ToLower(name) {
		case "session_replication_role":
			if value != "origin" {
				return refused("sets session_replication_role, which turns triggers off", "leave it out")
			}
		case "default_transaction_read_only", "transaction_read_only":
			if o.Writes && slices.Contains([]string{"on", "true", "yes", "1", "t", "y"}, value) {
				return refused("sets "+name+", so nothing could be recorded", "leave it out")
			}
		case "synchronous_commit":
			if o.Writes && slices.Contains([]string{"off", "false", "no", "0"}, value) {
				return refused("sets synchronous_commit to off: a crash could lose acknowledged deliveries", "leave it out, or set it to on")
			}
		}
	}
	switch attrs := options["target_session_attrs"]; attrs {
	case "read-only", "standby", "prefer-standby":
		if o.Writes {
			return refused("has target_session_attrs="+attrs+", so nothing could be recorded", "leave it out: the program finds the server that accepts writes")
		}
	}
	return nil
}

// switchPattern finds settings in the option named options.
var switchPattern = regexp.MustCompile(`(?:-c\s*|--)([A-Za-z_.-]+)=(\S+)`)
