package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lumin-ingest/internal/bench/load"
)

// process is a running program. Its output goes to a file, because that costs
// the program what it costs in practice.
type process struct {
	launch
	output string
	ended  chan struct{} // closed when the program has ended
	err    error         // of the program; read it once ended is closed
}

// spawn starts a program. It ends with the benchmark, even if that is killed.
func (b *bench) spawn(l launch) (*process, error) {
	file, err := os.CreateTemp(b.folder, "output-")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	l.cmd.Stdout, l.cmd.Stderr = file, file
	dieWithParent(l.cmd)
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(l.cmd.Path), err)
	}
	p := &process{launch: l, output: file.Name(), ended: make(chan struct{})}
	go func() {
		p.err = l.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// alive returns an error with the end of the output if the program has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended: %w; its output ends with:\n%s", filepath.Base(p.cmd.Path), p.failure(), p.tail())
	default:
		return nil
	}
}

func (p *process) failure() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

func (p *process) tail() string {
	const enough = 2000
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	return strings.ToValidUTF8(string(text[max(0, len(text)-enough):]), "?")
}

// complaints returns the last warnings and errors in the output, or its end if
// there are none.
func (p *process) complaints() string {
	const enough = 10
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"ERROR"`) {
			found = append(found, line)
		}
	}
	if len(found) == 0 {
		return p.tail()
	}
	return strings.Join(found[max(0, len(found)-enough):], "")
}

// waitReady waits until the program answers that it is ready.
func (p *process) waitReady(ctx context.Context) error {
	const limit = time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if err := p.alive(); err != nil {
			return err
		}
		if status(ctx, p.ready) == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; its output ends with:\n%s", filepath.Base(p.cmd.Path), context.Cause(ctx), p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// status returns the status of a page, or 0 without an answer.
func status(ctx context.Context, url string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// stop ends the program gracefully, or after some time at once.
func (p *process) stop() error {
	const limit = 20 * time.Second
	select {
	case <-p.ended:
		return nil
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended meanwhile
	select {
	case <-p.ended:
		return nil
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return nil
	}
}

// loading is a running load.
type loading struct {
	stage *stage
	cmd   *exec.Cmd
	to    *process
	in    io.Closer // ends the load
	out   strings.Builder
}

// beginLoad starts the process that sends deliveries.
func (s *stage) beginLoad(ctx context.Context, p *process, cfg load.Config) (*loading, error) {
	cfg.URL, cfg.Secret = p.webhook, secret
	argument, err := s.describeLoad(cfg)
	if err != nil {
		return nil, err
	}
	l := &loading{stage: s, to: p, cmd: exec.CommandContext(ctx, s.self, "load", string(argument))}
	l.cmd.Stdout, l.cmd.Stderr = &l.out, os.Stderr
	dieWithParent(l.cmd)
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the load: %w", err)
	}
	return l, nil
}

// describeLoad returns a load in JSON.
func (s *stage) describeLoad(cfg load.Config) ([]byte, error) {
	if cfg.Series == 0 {
		s.series++
		cfg.Series = s.series
	}
	cfg.Base = s.base
	return json.Marshal(cfg)
}

// callers lets callers in a program record deliveries.
func (s *stage) callers(ctx context.Context, p *process, cfg load.Config) (r load.Report, err error) {
	description, err := s.describeLoad(cfg)
	if err != nil {
		return r, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.launch.callers, bytes.NewReader(description))
	if err != nil {
		return r, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return r, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("the report of the callers: %w", err)
	}
	return r, s.check(p, r)
}

// check returns an error unless every delivery was answered 200.
func (s *stage) check(p *process, r load.Report) error {
	if r.Failed > 0 || r.Answers[http.StatusOK] != r.Sent {
		return fmt.Errorf("of %d deliveries %d had no answer (%s), and the others were answered %v; want 200 only; the program's complaints:\n%s",
			r.Sent, r.Failed, r.FirstError, r.Answers, p.complaints())
	}
	s.answered += r.Events
	return nil
}

// wait returns the report of a load that ends on its own.
func (l *loading) wait() (r load.Report, err error) {
	if err := l.cmd.Wait(); err != nil {
		return r, fmt.Errorf("the load: %w", err)
	}
	if err := json.Unmarshal([]byte(l.out.String()), &r); err != nil {
		return r, fmt.Errorf("the report of the load: %w", err)
	}
	return r, l.stage.check(l.to, r)
}

// end ends a load and returns its report.
func (l *loading) end() (load.Report, error) {
	_ = l.in.Close() // it may have ended already
	return l.wait()
}

// cpu returns the CPU time of a load that has ended.
func (l *loading) cpu() time.Duration {
	return l.cmd.ProcessState.UserTime() + l.cmd.ProcessState.SystemTime()
}
