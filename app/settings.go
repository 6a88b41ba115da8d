package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// databaseSettings name the database.
type databaseSettings struct {
	DatabaseURL     string `env:"DATABASE_URL" placeholder:"URL" help:"URL of the PostgreSQL database, such as postgres://user:password@host/database."`
	DatabaseURLFile string `env:"DATABASE_URL_FILE" placeholder:"FILE" help:"File that holds the value."`
}

func (s databaseSettings) url() (string, error) {
	url, err := secret("DATABASE_URL", s.DatabaseURL, s.DatabaseURLFile)
	if err != nil {
		return "", err
	}
	if url == "" {
		return "", advice.Usage("no database is given", "set DATABASE_URL, such as postgres://user:password@host:5432/database; \"%s dev\" needs none", invocation())
	}
	return url, checkURL("DATABASE_URL", url)
}

// commandPool is for the connections of a command. The server ends the statements
// of a command that was killed. The longest statement is one that counts all rows
// of a large table. A command waits for a lock only briefly, because its own locks
// make others wait meanwhile.
func commandPool() pgopen.Options {
	return pgopen.Options{MaxConns: 4, StatementTimeout: 30 * time.Minute, LockTimeout: 10 * time.Second}
}

// openStore connects to the database for one command. The returned function
// closes the connections.
func (s databaseSettings) openStore(ctx context.Context) (*store.Store, func(), error) {
	url, err := s.url()
	if err != nil {
		return nil, nil, err
	}
	pool, err := pgopen.Pool(ctx, url, commandPool())
	if err != nil {
		return nil, nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, nil, fmt.Errorf("the database does not answer: %w", err)
	}
	st, err := store.New(pool, slog.New(slog.DiscardHandler))
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	status, err := st.SchemaStatus(ctx)
	if err == nil && !status.Current() {
		err = advice.Add(errors.New(status.String()), "check that DATABASE_URL names the right database")
	}
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return st, pool.Close, nil
}

// sourceSettings hold the secrets of the sources whose deliveries are accepted.
type sourceSettings struct {
	AccountAPIKeys     string `name:"lumin-account-api-keys" env:"LUMIN_ACCOUNT_API_KEYS" placeholder:"KEY,..." help:"Primary API key of the workspace, which signs account webhooks. During a rotation, both keys."`
	AccountAPIKeysFile string `name:"lumin-account-api-keys-file" env:"LUMIN_ACCOUNT_API_KEYS_FILE" placeholder:"FILE" help:"File that holds the value."`
	AppSecrets         string `name:"lumin-app-secrets" env:"LUMIN_APP_SECRETS" placeholder:"NAME=SECRET,..." help:"Signing Secrets of apps. A name may repeat while its secret is rotated."`
	AppSecretsFile     string `name:"lumin-app-secrets-file" env:"LUMIN_APP_SECRETS_FILE" placeholder:"FILE" help:"File that holds the values."`
}

// checkSource refuses names that no source can have.
func checkSource(names ...string) error {
	for _, name := range names {
		if !store.ValidSource(name) {
			return advice.Usage(fmt.Sprintf("%q is not a source", name), "write account, or app:NAME with a NAME of 1 to 63 characters out of a-z, 0-9 and hyphen")
		}
	}
	return nil
}

// inFiles reports whether secrets are in files, which are read again.
func (s sourceSettings) inFiles() bool { return s.AccountAPIKeysFile != "" || s.AppSecretsFile != "" }

// secrets returns the configured secrets by source, the current one of each
// source first.
func (s sourceSettings) secrets() (map[string][]string, error) {
	keys, err := secret("LUMIN_ACCOUNT_API_KEYS", s.AccountAPIKeys, s.AccountAPIKeysFile)
	if err != nil {
		return nil, err
	}
	apps, err := secret("LUMIN_APP_SECRETS", s.AppSecrets, s.AppSecretsFile)
	if err != nil {
		return nil, err
	}
	secrets := map[string][]string{}
	if keys != "" {
		const setting = "LUMIN_ACCOUNT_API_KEYS"
		if secrets[store.AccountSource], err = cleanEntries(setting, keys); err != nil {
			return nil, err
		}
		for i, key := range secrets[store.AccountSource] {
			if err := checkSecret(fmt.Sprintf("%s: entry %d", setting, i+1), key); err != nil {
				return nil, err
			}
		}
	}
	if apps != "" {
		pairs, err := cleanEntries("LUMIN_APP_SECRETS", apps)
		if err != nil {
			return nil, err
		}
		for i, pair := range pairs {
			name, value, found := strings.Cut(pair, "=")
			name = trim(name)
			if !found || !store.ValidSource("app:"+name) { // not quoted: it may be a secret
				return nil, advice.Usage(fmt.Sprintf("LUMIN_APP_SECRETS: entry %d is not NAME=SECRET", i+1),
					"write it as name=secret,other=secret, with names of 1 to 63 characters out of a-z, 0-9 and hyphen")
			}
			entry := fmt.Sprintf("LUMIN_APP_SECRETS: the secret of entry %d", i+1)
			if value, err = clean(entry, value); err == nil {
				err = checkSecret(entry, value)
			}
			if err != nil {
				return nil, err
			}
			secrets["app:"+name] = append(secrets["app:"+name], value)
		}
	}
	return secrets, nil
}

// checkSecret refuses an invalid secret. The error names its entry by number,
// because a name may be the secret if the two were exchanged.
func checkSecret(entry, secret string) error {
	if err := lumin.CheckSecret(secret); err != nil {
		return advice.Usage(entry+" "+err.Error(), "copy each secret exactly as Lumin shows it, with at least 16 bytes, and separate several by commas or line ends")
	}
	return nil
}

// separator is a comma, a line end, or both.
var separator = regexp.MustCompile(`\s*,\s*|\s*\n\s*`)

// entries splits a list. An entry between two commas may be empty, and is
// refused later. Empty lines are white space.
func entries(list string) []string { return separator.Split(strings.TrimSpace(list), -1) }

// keyrings returns the keyrings of the configured sources. It fails if there
// are none.
func (s sourceSettings) keyrings() (map[string]*lumin.Keyring, error) {
	secrets, err := s.secrets()
	if err != nil {
		return nil, err
	}
	keyrings := make(map[string]*lumin.Keyring, len(secrets))
	for source, list := range secrets {
		if keyrings[source], err = lumin.NewKeyring(list...); err != nil {
			return nil, err
		}
	}
	if len(keyrings) == 0 {
		return nil, advice.Usage("no source of deliveries is configured",
			"set LUMIN_ACCOUNT_API_KEYS to the workspace's Primary API key, or LUMIN_APP_SECRETS to name=secret of an app")
	}
	return keyrings, nil
}

// secret returns a value that is given either directly or in a file.
func secret(name, value, file string) (string, error) {
	if file == "" {
		return clean(name, value)
	}
	if value != "" {
		return "", advice.Usage(fmt.Sprintf("%s and %s_FILE are both set", name, name), "keep one of them")
	}
	text, err := readSecret(file)
	if err != nil {
		return "", advice.Usage(fmt.Sprintf("%s_FILE: %v", name, err), "name a plain file that this program may read and that holds only the value")
	}
	content, err := clean(name+"_FILE", text)
	if err != nil {
		return "", err
	}
	if content == "" {
		return "", advice.Usage(fmt.Sprintf("%s_FILE: %s is empty", name, file), "write the value into it")
	}
	return content, nil
}

// maxSecretFile is far more than any list of secrets needs.
const maxSecretFile = 64 << 10

// valueLike matches URLs and keys as PEM.
var valueLike = regexp.MustCompile(`[\n@]|://|-----BEGIN`)

// readSecret reads a plain file, directly or through a symbolic link. It
// refuses pipes and devices: opening a pipe waits for a writer, and a device
// may never end. No error shows a value that was given in place of the file.
func readSecret(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil && valueLike.MatchString(file) {
		return "", errors.New("it holds a value, not the name of a file")
	}
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a plain file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecretFile {
		return "", fmt.Errorf("%s has more than %d bytes", file, maxSecretFile)
	}
	return string(text), nil
}

// logSettings choose the level and format of the log.
type logSettings struct {
	LogLevel  slog.Level `env:"LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
	LogFormat string     `env:"LOG_FORMAT" default:"json" enum:"json,text" help:"json or text."`
}

func (s logSettings) handler(w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "text" {
		return slog.NewTextHandler(w, options)
	}
	return slog.NewJSONHandler(w, options)
}
