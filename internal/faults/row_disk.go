//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// fullDiskScenario is T7 with the tables on a small disk.
func fullDiskScenario() Scenario {
	var disk smallDisk
	return Scenario{
		ID: "T7", Name: "the disk of the tables is full (a tablespace on a small tmpfs)",
		Size: "5 times for 30 s; no 200 to a new event while full; heals automatically when there is room",
		setup: setup{
			programs: 2, rate: 40,
			prepare: func(_ context.Context, cfg *Config, _ Options) (undo func(), err error) {
				if disk, err = mountDisk(64); err != nil {
					return nil, err
				}
				cfg.tablespace = filepath.Join(string(disk), "space")
				return disk.unmount, os.Mkdir(cfg.tablespace, 0o700)
			},
		},
		inject: func(ctx context.Context, s *scene) error {
			return s.fillDisk(ctx, &disk, func() bool { return s.tableFails(ctx) }, func(ctx context.Context, length time.Duration) error {
				pause(ctx, length)
				return nil
			})
		},
	}
}

// fullLogScenario is T7 with the write-ahead log on a small disk. PostgreSQL ends
// when it cannot write its log, so a service manager has to start it again.
func fullLogScenario() Scenario {
	var disk smallDisk
	return Scenario{
		ID: "T7w", Name: "the disk of the write-ahead log is full (a small tmpfs); PostgreSQL ends, and is started again every second, as a service manager does",
		Size: "5 times for 30 s; no 200 while the server is down; heals automatically when there is room",
		setup: setup{
			programs: 2, rate: 60,
			settings: map[string]string{"max_wal_size": "64MB", "min_wal_size": "32MB"},
			prepare: func(_ context.Context, cfg *Config, _ Options) (undo func(), err error) {
				if disk, err = mountDisk(256); err != nil {
					return nil, err
				}
				cfg.logFolder = filepath.Join(string(disk), "log")
				return disk.unmount, nil
			},
		},
		lastEffect: killedBound,
		inject: func(ctx context.Context, s *scene) error {
			down := func() bool {
				// Fills up the rest of the current file of the log.
				_ = s.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
					_, err := conn.Exec(ctx, `SELECT pg_switch_wal()`)
					return err
				})
				return s.servers.current().PID() == 0
			}
			return s.fillDisk(ctx, &disk, down, func(ctx context.Context, length time.Duration) error {
				for start := time.Now(); time.Since(start) < length && ctx.Err() == nil; pause(ctx, time.Second) {
					_ = s.servers.current().Resume(ctx) // fails while the disk is full
					down()
				}
				return nil
			})
		},
	}
}

// fillDisk fills the disk several times, and holds it full for some time after
// the server has begun to fail.
func (s *scene) fillDisk(ctx context.Context, disk *smallDisk, fails func() bool, hold func(context.Context, time.Duration) error) error {
	if err := s.acknowledged(ctx, 100); err != nil {
		return err
	}
	length := s.span(30*time.Second, 10*time.Second)
	taken, refused := 0, 0
	for range s.count(5, 1) {
		var full time.Time
		err := s.hit(ctx, "full disk", func(ctx context.Context) error {
			ballast, err := disk.fill(ctx)
			if err != nil {
				return err
			}
			defer ballast.empty()
			if err := s.await(ctx, "the server fails without room", 5*time.Minute, fails); err != nil {
				return err
			}
			pause(ctx, 2*time.Second) // the last free pages and the answers under way
			full = time.Now()
			return hold(ctx, length)
		})
		if err != nil {
			return err
		}
		ended := s.rows[len(s.rows)-1].ended
		taken += s.ledger.firstAcks(full, ended)
		if err := s.resume(ctx); err != nil {
			return err
		}
		if err := s.recover(ctx); err != nil {
			return err
		}
		refused += s.ledger.traffic(full, ended, nil).failed()
	}
	s.atMost("new events answered 200 while full", float64(taken), 0, "")
	s.atLeast("answers 503 or none while full", float64(refused), 1)
	return nil
}

// resume starts the server if it has ended.
func (s *scene) resume(ctx context.Context) error {
	var err error
	for range 30 {
		if err = s.servers.current().Resume(ctx); err == nil {
			return nil
		}
		pause(ctx, time.Second)
	}
	return err
}

// tableFails reports whether a table of the database cannot grow.
func (s *scene) tableFails(ctx context.Context) bool {
	err := s.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `CREATE TABLE public.probe AS SELECT generate_series(1, 10000); DROP TABLE public.probe`)
		return err
	})
	return err != nil
}

// smallDisk is a mounted tmpfs.
type smallDisk string

// mountDisk mounts a tmpfs of so many MiB, which only root can do.
func mountDisk(size int) (smallDisk, error) {
	folder, err := os.MkdirTemp("", "lumin-faults-disk-")
	if err != nil {
		return "", err
	}
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=1777", size)); err != nil {
		return "", errors.Join(fmt.Errorf("mount a small disk, which only root may do on Linux: %w", err), os.Remove(folder))
	}
	return smallDisk(folder), nil
}

func (d smallDisk) unmount() {
	_ = syscall.Unmount(string(d), syscall.MNT_DETACH)
	_ = os.Remove(string(d)) // fails if it is still mounted
}

// ballast is a file that fills a disk.
type ballast struct {
	path string
	stop context.CancelFunc
	done chan struct{}
}

// fill fills the disk, also when room becomes free, until empty is called.
func (d smallDisk) fill(ctx context.Context) (*ballast, error) {
	file, err := os.Create(filepath.Join(string(d), "ballast"))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	b := &ballast{file.Name(), stop, make(chan struct{})}
	go func() {
		defer close(b.done)
		defer file.Close()
		for block := make([]byte, 64<<10); ctx.Err() == nil; pause(ctx, 20*time.Millisecond) {
			for size := len(block); size >= 4<<10; { // down to one page
				if _, err := file.Write(block[:size]); err != nil {
					size /= 2
				}
			}
		}
	}()
	return b, nil
}

// empty makes room.
func (b *ballast) empty() {
	b.stop()
	<-b.done
	_ = os.Remove(b.path) // it is gone already if the disk is
}
