package main

import (
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

//go:embed express/server.js express/package.json
var expressFiles embed.FS

// expressApp is a receiver with Express and pg-boss. Its packages are installed
// into the temporary folder.
func (b *bench) expressApp() *contestant {
	script := filepath.Join(b.folder, "express", "server.js")
	command := func(databaseURL string, args ...string) *exec.Cmd {
		cmd := exec.Command("node", slices.Concat([]string{script}, args)...)
		cmd.Dir = filepath.Dir(script)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NODE_ENV=production", "DATABASE_URL=" + databaseURL, "SECRET=" + secret}
		return cmd
	}
	return &contestant{
		name: "express", schema: "express",
		migrate: func(ctx context.Context, databaseURL string) error {
			if err := b.installExpress(ctx, filepath.Dir(script)); err != nil {
				return err
			}
			if out, err := command(databaseURL, "migrate").CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
		counted: counts{
			events: `SELECT count(*) FROM public.events`, runs: `SELECT count(*) FROM pgboss.job`,
			effects: `SELECT 0`, // it only receives
		},
		launch: func(_, databaseURL string) (launch, error) {
			address, _, err := freePorts()
			if err != nil {
				return launch{}, err
			}
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return launch{}, err
			}
			cmd := command(databaseURL)
			cmd.Env = append(cmd.Env, "LISTEN_HOST="+host, "LISTEN_PORT="+port)
			return launch{cmd: cmd, webhook: "http://" + address + "/webhooks/account", ready: "http://" + address + "/readyz"}, nil
		},
	}
}

// installExpress installs the packages, or returns a missingError.
func (b *bench) installExpress(ctx context.Context, folder string) error {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return &missingError{"there is no program " + program}
		}
	}
	if err := os.CopyFS(b.folder, expressFiles); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = folder
	if out, err := install.CombinedOutput(); err != nil {
		b.logf("npm install: %s", out)
		return &missingError{fmt.Sprintf("npm cannot install its packages (%v)", err)}
	}
	return nil
}
