//go:build unix

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"lumin-ingest/internal/pgproxy"
)

// The secrets that the program is configured with.
const (
	accountKey = "faults_account_key"
	appSecret  = "faults_app_secret"
)

// program is one process of the program at a time, with its own proxy to the
// database.
type program struct {
	name    string
	command []string
	env     []string
	proxy   *pgproxy.Proxy
	log     *os.File
	health  *http.Client

	mu      sync.Mutex
	role    string
	process *process // nil: none was started
	died    []string // unexpected ends
}

// process is one process of a program, from its start to its end.
type process struct {
	cmd    *exec.Cmd
	stdin  interface{ Close() error }
	exited chan struct{}
	addr   *addresses
	killed bool // by the run, on purpose
}

// newProgram makes the program with a number. Nothing is started yet.
func newProgram(cfg Config, n int, env []string, proxy *pgproxy.Proxy) (*program, error) {
	name, command := string(rune('A'+n)), cfg.Program
	if n < len(cfg.commands) {
		command = cfg.commands[n]
	}
	log, err := os.Create(filepath.Join(cfg.Folder, name+".log"))
	if err != nil {
		return nil, err
	}
	return &program{
		name: name, command: command, env: env, proxy: proxy, log: log,
		health: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}, nil
}

// start starts a process in a role and returns at once.
func (p *program) start(role string) error {
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Env = p.environment(role)
	one := &process{cmd: cmd, exited: make(chan struct{}), addr: &addresses{}}
	cmd.Stdout, cmd.Stderr = p.log, &tee{file: p.log, addr: one.addr}
	// A group of its own: if this process dies, the kernel wakes a stopped one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe() // it ends when this process ends
	if err != nil {
		return err
	}
	one.stdin = stdin
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start program %s: %w", p.name, err)
	}
	p.mu.Lock()
	p.role, p.process = role, one
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		p.mu.Lock()
		if !one.killed {
			p.died = append(p.died, fmt.Sprintf("program %s ended on its own: %s", p.name, cmd.ProcessState))
		}
		p.mu.Unlock()
		close(one.exited)
	}()
	return nil
}

// environment returns the variables of a process in a role.
func (p *program) environment(role string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"DATABASE_URL=" + p.proxy.URL(), "LISTEN_ADDR=127.0.0.1:0", "ADMIN_LISTEN_ADDR=127.0.0.1:0", "LUMIN_ROLE=" + role,
		NameVariable + "=" + p.name,
		"LUMIN_ACCOUNT_API_KEYS=" + accountKey, "LUMIN_APP_SECRETS=demo=" + appSecret,
	}, p.env...)
}

// signal sends a signal. The caller says whether the signal ends the process.
func (p *program) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return
	}
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		p.process.killed = true
	}
	_ = p.process.cmd.Process.Signal(s) // it may have ended
}

// wait waits for the end of the process and returns its exit code.
func (p *program) wait(ctx context.Context, within time.Duration) (int, error) {
	p.mu.Lock()
	one := p.process
	p.mu.Unlock()
	if one == nil {
		return 0, nil
	}
	select {
	case <-one.exited:
		return one.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(within):
		return 0, fmt.Errorf("program %s still runs %s after its signal", p.name, within)
	}
}

// kill ends the process with SIGKILL and waits until it is gone.
func (p *program) kill(ctx context.Context) error {
	p.signal(syscall.SIGKILL)
	_, err := p.wait(ctx, 10*time.Second)
	return err
}

// close ends all processes of the program.
func (p *program) close() error {
	p.signal(syscall.SIGCONT)
	err := p.kill(context.Background())
	p.health.CloseIdleConnections()
	return errors.Join(err, p.log.Close())
}

// url returns the address at which the program receives deliveries. It is empty
// if the program receives none.
func (p *program) url() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil || p.role == "worker" {
		return ""
	}
	return p.process.addr.get(receiving)
}

func (p *program) currentRole() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.role
}

// admin returns the address of the admin listener. It is empty until the program
// has logged it.
func (p *program) admin() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return ""
	}
	return p.process.addr.get(administering)
}

// ready returns nil if /readyz answers 200.
func (p *program) ready(ctx context.Context) error {
	address := p.admin()
	if address == "" {
		return errors.New("it has not logged its address")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := p.health.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %d", response.StatusCode)
	}
	return nil
}

// deaths lists unexpected ends of the program.
func (p *program) deaths() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.died...)
}

// Messages of the program's log that name an address.
const (
	receiving     = "receiving deliveries"
	administering = "health and metrics"
)

// addresses are those on which a process listens, according to its log.
type addresses struct {
	mu sync.Mutex
	by map[string]string
}

func (a *addresses) get(message string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.by[message]
}

// note stores the address if a line of the log names one.
func (a *addresses) note(text []byte) {
	var entry struct{ Msg, Address string }
	if json.Unmarshal(text, &entry) != nil || entry.Address == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[string]string{}
	}
	a.by[entry.Msg] = "http://" + entry.Address
}

// tee writes a log to a file and stores the addresses in it.
type tee struct {
	file *os.File
	addr *addresses
	rest []byte
}

// Write implements io.Writer.
func (t *tee) Write(p []byte) (int, error) {
	t.rest = append(t.rest, p...)
	for {
		text, rest, found := bytes.Cut(t.rest, []byte{'\n'})
		if !found {
			break
		}
		if bytes.Contains(text, []byte(`"address"`)) {
			t.addr.note(text)
		}
		t.rest = rest
	}
	return t.file.Write(p)
}
