package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthCommand is for the health check of a container, which has no other
// program to ask with.
type healthCommand struct {
	Address string        `env:"ADMIN_LISTEN_ADDR" default:"127.0.0.1:8081" placeholder:"HOST:PORT" help:"Admin listener to ask."`
	Timeout time.Duration `default:"4s" help:"How long to wait for the answer; /readyz gives each of its checks 3 s."`
}

// Run implements the command.
func (c *healthCommand) Run(ctx context.Context, std streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	if c.Timeout <= 0 {
		return usage("--timeout is "+c.Timeout.String(), "give more than 0s, such as 4s")
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return usage(fmt.Sprintf("%q is not an address", c.Address), "write HOST:PORT, such as 127.0.0.1:8081")
	}
	// No proxy of the environment: the address is this machine's own.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return hint(fmt.Errorf("%s did not answer within %s", url, c.Timeout), "see whether the machine is overloaded; the program's log has more")
	}
	if err != nil {
		return hint(fmt.Errorf("nothing answers at %s: %w", url, plainCause(err)), "see whether serve runs here, and whether ADMIN_LISTEN_ADDR is the same for both")
	}
	defer response.Body.Close()
	return c.judge(std, url, response)
}

// url is that of /readyz. A listener on all addresses is asked on loopback.
func (c *healthCommand) url() (string, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || port == "" || port == "0" || strings.ContainsAny(c.Address, "/?#@ ") {
		return "", usage(fmt.Sprintf("%q is not an address to ask", c.Address), "set ADMIN_LISTEN_ADDR or --address to HOST:PORT, such as 127.0.0.1:8081")
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/readyz", nil
}

func (c *healthCommand) judge(std streams, url string, response *http.Response) error {
	var body struct {
		Status string `json:"status"`
		Checks []struct {
			Name  string `json:"name"`
			OK    bool   `json:"ok"`
			Error string `json:"error"`
		} `json:"checks"`
	}
	err := json.NewDecoder(http.MaxBytesReader(nil, response.Body, 1<<20)).Decode(&body)
	if err != nil || body.Status == "" {
		return hint(fmt.Errorf("%s answered %d, and not as this program does", url, response.StatusCode), "see what else listens there; ADMIN_LISTEN_ADDR or --address names the admin listener")
	}
	if response.StatusCode == http.StatusOK {
		_, err := fmt.Fprintln(std.out, body.Status)
		return err
	}
	var reasons []string
	for _, check := range body.Checks {
		if !check.OK {
			reasons = append(reasons, printable(check.Name+": "+check.Error))
		}
	}
	return hint(errors.New("not ready: "+strings.Join(reasons, "; ")), "the program is alive, and becomes ready once this is over; its log has more")
}

// plainCause is the innermost error of a request: the others repeat the address.
func plainCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return errors.Unwrap(err)
}
