// Package migrations brings the schema lumin of a database up to date, or takes
// it away.
//
// The schema holds our own tables, those of River, and a version table of its
// own. Nothing outside the schema is read or written, so the database may belong
// to another application that has its own schema_migrations, its own River or a
// search_path of its own.
//
//	if err := migrations.Up(ctx, databaseURL); err != nil {
//		return err // says what to do
//	}
//
// [Up] may be called by any number of programs at the same time: the first one
// works, the others wait and find nothing left to do. The role needs CREATE on
// the database only where the schema lumin does not exist yet.
package migrations
