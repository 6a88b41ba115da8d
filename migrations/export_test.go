package migrations

import "regexp"

// CountDrops returns how many dropped tables and columns Losses finds in the
// down files.
func CountDrops() (n int) {
	for _, f := range files() {
		n += len(regexp.MustCompile(dropTable).FindAllString(f.down(), -1))
		for _, match := range regexp.MustCompile(alterTable).FindAllStringSubmatch(f.down(), -1) {
			n += len(regexp.MustCompile(dropColumn).FindAllString(match[2], -1))
		}
	}
	return n
}

// UpSQL returns the text of a migration.
func UpSQL(version int) string { return read("sql/" + nameOf(version) + ".up.sql") }
