package app

import (
	"fmt"

	"lumin-ingest/internal/version"
)

type versionCommand struct{}

func (versionCommand) Run(std streams) error {
	info := version.Read()
	_, err := fmt.Fprintf(std.out, "%s\n%s %s\n", info, info.Go, info.Platform)
	return err
}
