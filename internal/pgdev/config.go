package pgdev

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Config configures a server. The zero value suits tests.
type Config struct {
	// Durable keeps PostgreSQL's defaults for fsync and full_page_writes, so
	// that commits survive a crash of the machine. False (for tests) turns both
	// off. Commits then survive Halt in every mode, but not a power cut.
	Durable bool

	// Settings are additional server settings, such as {"max_connections":
	// "300"}. They override the package's defaults, and ALTER SYSTEM cannot
	// change them. Settings that control where the server listens, stores data
	// and logs are refused. Malformed names are refused too. Nil means no
	// additional settings. The defaults suit tests on a small machine:
	// max_connections 200, shared_buffers 64MB, timezone UTC, log_min_messages
	// warning.
	Settings map[string]string

	// BinDir is the folder with the programs initdb and postgres, version 14 or
	// newer. If it is empty, they are searched in PATH, then in the usual
	// folders of distributions and Homebrew.
	BinDir string

	// Download is called if BinDir is empty and no programs are installed. It
	// gets a cache folder that the server's user can enter, and returns a
	// folder with the programs. The only implementation is in package
	// pgdownload. Nil means that nothing is downloaded.
	Download func(ctx context.Context, cache string) (dir string, err error)
}

// ShutdownMode selects how [Server.Halt] stops the server.
type ShutdownMode int

const (
	// Fast is an orderly shutdown. It rolls back open transactions, closes the
	// connections and writes all data to disk.
	Fast ShutdownMode = iota
	// Immediate ends every process at once. The next start recovers from the
	// write-ahead log.
	Immediate
	// Kill ends the main process with SIGKILL, like a crash. The other
	// processes notice that and exit.
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

// settingName matches the parameter names that PostgreSQL accepts: a word, or
// two words with a dot for a parameter of an extension.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)

// reservedSettings lists the settings on which this package's guarantees
// depend.
//
//nolint:gochecknoglobals // a table
var reservedSettings = []string{
	"config_file", "data_directory", "external_pid_file", "hba_file", "ident_file",
	"listen_addresses", "port", "unix_socket_directories",
	"log_destination", "logging_collector",
	"lc_messages", // the package searches the log for English texts
}

// settings returns all settings of the server except its port.
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
		// synchronous_commit stays on. With it off, a commit could be acknowledged
		// while it is only in the server's memory, and the stop modes Immediate
		// and Kill would lose it. Leaving it on costs almost nothing when fsync
		// is off.
		maps.Copy(all, map[string]string{"fsync": "off", "full_page_writes": "off"})
	}
	for _, given := range slices.Sorted(maps.Keys(c.Settings)) {
		name := strings.ToLower(given) // PostgreSQL ignores case too
		if !settingName.MatchString(name) {
			return nil, fmt.Errorf("Config.Settings: %q is not the name of a PostgreSQL setting; write it as in postgresql.conf", given)
		}
		if slices.Contains(reservedSettings, name) {
			return nil, fmt.Errorf("Config.Settings: pgdev sets %s itself; remove it", name)
		}
		if strings.ContainsRune(c.Settings[given], 0) {
			return nil, fmt.Errorf("Config.Settings: the value of %s contains a NUL byte; remove it", name)
		}
		all[name] = c.Settings[given]
	}
	return all, nil
}
