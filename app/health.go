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

	"lumin-ingest/internal/advice"
)

// healthCommand is for container health checks. The image contains no other
// program that can send a request.
type healthCommand struct {
	Address string        `env:"ADMIN_LISTEN_ADDR" default:"127.0.0.1:8081" placeholder:"HOST:PORT" help:"Address of the admin listener."`
	Timeout time.Duration `default:"4s" help:"How long to wait for the answer. /readyz allows 3 s for each of its checks."`
}

func (c *healthCommand) Run(ctx context.Context, std streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	if c.Timeout <= 0 {
		return advice.Usage("--timeout is "+c.Timeout.String(), "give more than 0s, such as 4s")
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return advice.Usage(fmt.Sprintf("%q is not an address", c.Address), "write HOST:PORT, such as 127.0.0.1:8081")
	}
	// No proxy from the environment: the address is on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return advice.Add(fmt.Errorf("%s did not answer within %s", url, c.Timeout), "check whether the machine is overloaded; the program's log has details")
	}
	if err != nil {
		return advice.Add(fmt.Errorf("nothing answers at %s: %w", url, rootCause(err)), "check that serve runs on this machine with the same ADMIN_LISTEN_ADDR")
	}
	defer response.Body.Close()
	return c.report(std, url, response)
}

// url returns the URL of /readyz. It uses loopback for a listener on all
// addresses.
func (c *healthCommand) url() (string, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || port == "" || port == "0" || strings.ContainsAny(c.Address, "/?#@ ") {
		return "", advice.Usage(fmt.Sprintf("%q is not a usable address", c.Address), "set ADMIN_LISTEN_ADDR or --address to HOST:PORT, such as 127.0.0.1:8081")
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/readyz", nil
}

func (c *healthCommand) report(std streams, url string, response *http.Response) error {
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
		return advice.Add(fmt.Errorf("%s answered %d, but not in the form of /readyz", url, response.StatusCode), "check which program listens there; set ADMIN_LISTEN_ADDR or --address to the admin listener")
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
	return advice.Add(errors.New("not ready: "+strings.Join(reasons, "; ")), "the program is running and becomes ready once this is fixed; its log has details")
}

// rootCause returns the innermost error of a request. The outer errors repeat
// the address.
func rootCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return errors.Unwrap(err)
}
