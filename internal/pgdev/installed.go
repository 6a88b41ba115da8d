//go:build unix

package pgdev

import (
	"context"
	"fmt"
)

// Installed returns the folder with the programs of one major version of
// PostgreSQL. It searches where [Start] does.
func Installed(ctx context.Context, major int) (dir string, err error) {
	owner, err := findAccount()
	if err != nil {
		return "", err
	}
	return newSearch(owner, nil).version(ctx, major)
}

// version returns the folder with the programs of one major version.
func (s search) version(ctx context.Context, major int) (dir string, err error) {
	for _, dir := range append(s.fromPath(), s.fromFolders()...) {
		if found, err := s.inspect(ctx, dir); err == nil && found.major == major {
			return found.dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL %d is not installed", major)
}
