// Package migrations creates, updates and removes the schema lumin of a
// database.
//
// The schema contains our tables, River's tables and a version table. Nothing
// outside the schema is read or written. The database may therefore belong to
// another application with its own schema_migrations, River or search_path.
//
//	if err := migrations.Up(ctx, databaseURL); err != nil {
//		return err // suggests a remedy
//	}
//
// Any number of programs may call [Up] at the same time. The first one
// migrates, and the others wait and find the schema up to date. The role needs
// CREATE on the database only if the schema lumin does not exist yet.
package migrations
