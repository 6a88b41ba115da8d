package pgopen_test

import (
	"errors"
	"strings"
	"testing"

	"lumin-ingest/internal/pgopen"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://user:password@host:5432/database",
		"postgresql://user@host/database?sslmode=disable",
		"postgres:///database?host=/var/run/postgresql",
		"postgres://user:p%40ss%2Fw%23rd@a:1,b:2/database",
		"postgres://user@host/database?application_name=me@here",
		"host=/var/run/postgresql dbname=database",
		`host = h user=u password='it\'s = "me"'`,
		"postgres://host/x?pool_max_conns=1&pool_min_conns=9&pool_max_conn_lifetime=1ns&pool_health_check_period=0s",
		"postgres://host/x?default_query_exec_mode=simple_protocol&statement_cache_capacity=0&description_cache_capacity=0",
		"postgres://host/x?keepalives=1&keepalives_idle=5&gssencmode=prefer&sslcompression=0&load_balance_hosts=disable",
		"postgres://host/x?target_session_attrs=any",
		"postgres://host/x?target_session_attrs=primary&synchronous_commit=remote_apply&options=-c%20search_path%3Dx",
	} {
		if err := pgopen.Check(url, pgopen.Options{Writes: true}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestRefusedURLs(t *testing.T) {
	t.Parallel()
	const encode, option = "percent-encode", "leave"
	for url, remedy := range map[string]string{
		"":                                                                      "postgres://",
		"hunter2":                                                               "postgres://",
		"mysql://u:hunter2@h/d":                                                 "postgres://",
		`"postgres://u:hunter2@h/d?sslmode=off"`:                                "postgres://",
		"h/d?sslmode=hunter2":                                                   "postgres://",
		"h:5432/d?password=hunter2":                                             "postgres://",
		"DATABASE_URL=hunter2":                                                  "postgres://",
		"user=u password=hunter2":                                               "host=",
		"postgres://u:hun/ter2@h/d":                                             encode,
		"postgres://u:12/hunter2@h/d":                                           encode,
		"postgres://u:12?hunter2@h/d":                                           encode,
		"postgres://u:p@1?hunter2@h/d":                                          encode,
		"postgres://u:hun#ter2@h/d":                                             encode,
		"postgres://u:12#hunter2@h/d":                                           encode,
		"postgres://u:hunter2%zz@h/d":                                           encode,
		"postgres://u:hunter2 x@h/d":                                            encode,
		"postgres://u:hunter2@h:port/d":                                         encode,
		"postgres://u:hunter2@h/d?sslmode=bogus":                                option,
		"postgres://u:hunter2@h/d?connect_timeout=soon":                         option,
		"postgres://u:hunter2@h/d?pool_max_conns=many":                          option,
		"postgres://u:hunter2@h/d?default_query_exec_mode=fast":                 option,
		"postgres://u:hunter2@h/d?sslrootcert=/no/such/file":                    option,
		"postgres://u:hunter2@h/d?hostaddr=1.2.3.4":                             option,
		"postgres://u:hunter2@h/d?gssencmode=require":                           option,
		"postgres://u:hunter2@h/d?sslcrl=x":                                     option,
		"postgres://u:hunter2@h/d?replication=true":                             option,
		"postgres://u:hunter2@h/d?target_session_attrs=standby":                 option,
		"postgres://u:hunter2@h/d?default_transaction_read_only=on":             option,
		"postgres://u:hunter2@h/d?options=-cdefault_transaction_read_only%3Don": option,
		"postgres://u:hunter2@h/d?options=--synchronous-commit%3Doff":           option,
		"postgres://u:hunter2@h/d?synchronous_commit=off":                       option,
		"postgres://u:hunter2@h/d?session_replication_role=replica":             option,
	} {
		err := pgopen.Check(url, pgopen.Options{Writes: true})
		var refused *pgopen.Refused
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if !strings.Contains(refused.Remedy, remedy) {
			t.Errorf("%s: advised to %s", url, refused.Remedy)
		}
		if text := refused.What + refused.Remedy; strings.Contains(text, "hun") || strings.Contains(text, "ter2") {
			t.Errorf("%s: the error is %s", url, text)
		}
	}
}

// A connection that only reads may name a standby.
func TestReadOnlyURL(t *testing.T) {
	t.Parallel()
	for _, option := range []string{"target_session_attrs=standby", "default_transaction_read_only=on", "synchronous_commit=off"} {
		if err := pgopen.Check("postgres://host/x?"+option, pgopen.Options{}); err != nil {
			t.Errorf("%s: %v", option, err)
		}
	}
}
