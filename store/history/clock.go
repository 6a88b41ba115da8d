package history

import "time"

// readEvery is how often the database's clock is read at least.
const readEvery = time.Minute

// databaseClock shows the time of the database's clock, by which minutes are counted:
// [Tidy] compares them with it. Until it is read, it shows the time of this machine.
type databaseClock struct {
	machine func() time.Time
	read    struct{ machine, database time.Time } // at one moment; zero: not read yet
}

// now returns the time. The clock of this machine may be set back, and its monotonic
// clock may stand still while it sleeps, so that the time since the reading is the
// longer of the two.
func (c *databaseClock) now() time.Time {
	now := c.machine()
	if c.read.machine.IsZero() {
		return now
	}
	since := max(now.Sub(c.read.machine), now.Round(0).Sub(c.read.machine.Round(0)))
	return c.read.database.Add(since)
}

// fresh reports whether the clock was read a short time ago.
func (c *databaseClock) fresh() bool {
	return !c.read.machine.IsZero() && c.machine().Sub(c.read.machine) < readEvery
}

// set stores a time of the database that was read since start.
func (c *databaseClock) set(start, database time.Time) {
	half := max(c.machine().Sub(start)/2, 0)
	c.read.machine, c.read.database = start.Add(half), database
}
