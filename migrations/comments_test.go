package migrations_test

import (
	"path/filepath"
	"regexp"
	"testing"

	"lumin-ingest/internal/pgtest"
)

// A new database has the same comments as a migrated one: migration 0012 and
// the earlier files write the same comments.
func TestCommentsOfNewAndMigratedDatabase(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("sql/*.up.sql")
	if err != nil {
		t.Fatal(err)
	}
	statement := regexp.MustCompile(`(?m)^COMMENT ON (.+) IS '(.*)';$`)
	last := map[string]string{}
	repeated := 0
	for _, name := range names { // Glob has sorted them
		name = filepath.Base(name)
		for _, match := range statement.FindAllStringSubmatch(sqlFile(t, name), -1) {
			object, text := match[1], match[2]
			if name != "0012_comments.up.sql" {
				last[object] = text
				continue
			}
			repeated++
			if text != last[object] {
				t.Errorf("%s: 0012 says %q, an earlier file %q", object, text, last[object])
			}
		}
	}
	if repeated < 50 {
		t.Errorf("0012 repeats %d comments", repeated)
	}

	const commentsSQL = `
		SELECT string_agg(concat_ws(' ', c.relname, a.attname, d.description), E'\n' ORDER BY c.relname, a.attname)
		FROM pg_description d
		JOIN pg_class c ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
		LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
		WHERE c.relnamespace = 'lumin'::regnamespace`
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	want := pgtest.Value[string](t, pool, commentsSQL)
	down(t, address, len(versions(t))-3)
	up(t, address)
	if got := pgtest.Value[string](t, pool, commentsSQL); got != want {
		t.Errorf("after down and up the comments are\n%s\nwant\n%s", got, want)
	}
}
