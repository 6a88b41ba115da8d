package pgopen_test

import (
	"errors"
	"strings"
	"testing"

	"lumin-ingest/internal/pgopen"
)

// FuzzCheck: no error shows a part of the password, which may contain any
// character and may not be percent-encoded. A K becomes a word to look for.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		"K", "K@K", "K/K", "K?K=1", "x@y?K=1", "x?sslmode=K", "K#K", "%K", "K:K", "K%40K", "x/y@h/d?K=K", "?target_session_attrs=K", "K&K=K", "x@h/d?K", "[K", "K\x00", "K K",
		"x@h/d?port=K", "x@h:K/d", "x@h/d?passfile=/K", "x@h/d?sslrootcert=K", "é@K", "K://K@", "x@h,K/d",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, password string) {
		const word = "hunter2"
		password = strings.ReplaceAll(password, "K", word)
		for _, url := range []string{
			"postgres://user:" + password + "@localhost:5432/database", "postgresql://user:" + password + "@localhost/database?sslmode=disable",
			"host=localhost user=user password=" + password, "host=localhost user=user dbname=database password='" + password + "'",
		} {
			err := pgopen.Check(url, pgopen.Options{Writes: true})
			var refused *pgopen.Refused
			switch {
			case err == nil:
			case !errors.As(err, &refused):
				t.Errorf("%q: %v", url, err)
			case strings.Contains(refused.Error()+refused.Remedy, word):
				t.Errorf("%q: the error shows it: %v; %s", url, refused, refused.Remedy)
			}
		}
	})
}
