package pgdev

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Config says what kind of server to start. The zero value is right for tests.
type Config struct {
	// Durable keeps PostgreSQL's own settings for what survives a crash of the machine. False (for tests) turns off fsync and
	// full_page_writes: what such a server has committed survives Halt in every mode, but not a power cut.
	Durable bool

	// Settings are further server settings, such as {"max_connections": "300"}. They win over this package's own and cannot be
	// changed by ALTER SYSTEM. Those that decide where the server listens, stores and logs are refused, as are malformed names.
	// Nil: none. The package's own are those of a server for tests on a small machine: max_connections 200, shared_buffers 64MB,
	// timezone UTC, log_min_messages warning.
	Settings map[string]string

	// BinDir is the folder of the programs initdb and postgres, version 14 or newer. Empty: find them in PATH, then in the usual
	// folders of distributions and Homebrew, and else download them once into the user's cache folder.
	BinDir string
}

// ShutdownMode says how [Server.Halt] stops the server.
type ShutdownMode int

const (
	// Fast rolls back what is open, closes the connections and writes everything out: an orderly shutdown.
	Fast ShutdownMode = iota
	// Immediate ends every process at once; the next start recovers from the write-ahead log.
	Immediate
	// Kill ends the main process with SIGKILL, like a crash. The others notice and end by themselves.
	Kill
)

// String returns the mode as PostgreSQL's documentation spells it.
func (m ShutdownMode) String() string {
	switch m {
	case Fast:
		return "fast"
	case Immediate:
		return "immediate"
	case Kill:
		return "kill"
	default:
		return fmt.Sprintf("ShutdownMode(%d)", int(m))
	}
}

// settingName is what PostgreSQL accepts as a parameter's name: words, with a dot for those of extensions.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)

// reservedSettings are those that the guarantees of this package rest on.
//
//nolint:gochecknoglobals // a table
var reservedSettings = []string{
	"config_file", "data_directory", "external_pid_file", "hba_file", "ident_file",
	"listen_addresses", "port", "unix_socket_directories",
	"log_destination", "logging_collector",
	"lc_messages", // the log is searched for English texts
}

// settings returns all settings of the server but its port.
func (c Config) settings() (map[string]string, error) {
	all := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "",
		"log_destination":         "stderr",
		"logging_collector":       "off",
		"log_min_messages":        "warning",
		"log_timezone":            "UTC",
		"timezone":                "UTC",
		"max_connections":         "200",
		"shared_buffers":          "64MB",
	}
	if !c.Durable {
		// synchronous_commit stays on. Off, a commit is acknowledged while it is still in the server's own memory, so that Immediate
		// and Kill lose it; and with fsync off, on costs next to nothing.
		maps.Copy(all, map[string]string{"fsync": "off", "full_page_writes": "off"})
	}
	for _, given := range slices.Sorted(maps.Keys(c.Settings)) {
		name := strings.ToLower(given) // PostgreSQL does not tell them apart either
		if !settingName.MatchString(name) {
			return nil, fmt.Errorf("Config.Settings: %q is not the name of a PostgreSQL setting; write it as in postgresql.conf", given)
		}
		if slices.Contains(reservedSettings, name) {
			return nil, fmt.Errorf("Config.Settings: %s is decided by pgdev; leave it out", name)
		}
		if strings.ContainsRune(c.Settings[given], 0) {
			return nil, fmt.Errorf("Config.Settings: the value of %s contains a NUL byte; take it out", name)
		}
		all[name] = c.Settings[given]
	}
	return all, nil
}
