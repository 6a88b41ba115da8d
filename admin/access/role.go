package access

import "fmt"

// Role is what a caller may do. A higher role may do everything that a lower one
// may. The zero value may do nothing.
type Role int

// The roles.
const (
	Read    Role = iota + 1 // sees everything, with personal data masked
	Operate                 // also changes things, and sees personal data when asking for it
	Erase                   // also erases
)

// String returns the name of the role, as ParseRole reads it.
func (r Role) String() string {
	switch r {
	case Read:
		return "read"
	case Operate:
		return "operate"
	case Erase:
		return "erase"
	}
	return "none"
}

// May reports whether a caller with role r may do what needs the other role.
func (r Role) May(needed Role) bool { return r >= needed }

// ParseRole reads read, operate or erase.
func ParseRole(name string) (Role, error) {
	for _, r := range []Role{Read, Operate, Erase} {
		if r.String() == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("%q is not a role: give read, operate or erase", name)
}
