package forward_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/jobtest"
)

// Without allowed networks, only public addresses are connected to.
func TestForwardRefusesPrivate(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(200))
	port := to.Listener.Addr().(*net.TCPAddr).Port
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:a01:203]", "10.1.2.3", "172.16.0.1", "192.168.0.1",
		"169.254.169.254", "100.64.0.1", "0.0.0.0", "[::]", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]",
		"[::7f00:1]", "[fec0::1]", "[2002:7f00:1::]",
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			at := target("crm", fmt.Sprintf("https://%s:%d", host, port))
			at.AllowNetworks = nil
			err := newForward(t, at).Work(context.Background(), forwardedEvent())
			if jobtest.Outcome(err) != "retried" || !strings.Contains(err.Error(), "is not public") || !strings.Contains(err.Error(), "FORWARD_ALLOW_NETWORKS") {
				t.Fatalf("error %v", err)
			}
			noLeak(t, err.Error())
		})
	}
	t.Cleanup(func() {
		if n := to.conn.Load(); n != 0 {
			t.Errorf("%d connections were made", n)
		}
	})
}

// With allowed networks, no other address is connected to, not even a public
// one.
func TestForwardAllowedNetworks(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(200))
	port := to.Listener.Addr().(*net.TCPAddr).Port
	for _, test := range []struct {
		host, networks string
		allowed        bool
	}{
		{"127.0.0.1", "127.0.0.0/8", true},
		{"localhost", "127.0.0.0/8", true},
		{"[::ffff:127.0.0.1]", "127.0.0.0/8", true},
		{"127.0.0.1", "10.0.0.0/8,127.0.0.1/32", true},
		{"127.0.0.1", "10.0.0.0/8", false},
		{"127.0.0.1", "::/0", false},
		{"localhost", "10.0.0.0/8", false},
		{"1.1.1.1", "127.0.0.0/8", false},
		{"[2606:4700:4700::1111]", "127.0.0.0/8", false},
	} {
		t.Run(test.host+" "+test.networks, func(t *testing.T) {
			t.Parallel()
			scheme := "http"
			if strings.Contains(test.networks, "::/0") {
				scheme = "https"
			}
			at := target("crm", fmt.Sprintf("%s://%s:%d", scheme, test.host, port))
			at.AllowNetworks = nil
			for network := range strings.SplitSeq(test.networks, ",") {
				at.AllowNetworks = append(at.AllowNetworks, netip.MustParsePrefix(network))
			}
			err := newForward(t, at).Work(context.Background(), forwardedEvent())
			if test.allowed {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "outside its allowed networks") {
				t.Fatalf("error %v", err)
			}
		})
	}
}

// An address with a zone can also come from the network or the hosts file. It
// makes the address check panic in a goroutine where the panic cannot be
// recovered.
func TestForwardZone(t *testing.T) {
	t.Parallel()
	dial := newForward(t, target("crm", "http://127.0.0.1:1")).Transport().DialContext
	if conn, err := dial(context.Background(), "tcp", "[fe80::1%1]:1"); err == nil {
		conn.Close()
		t.Error("connected")
	} else if !strings.Contains(err.Error(), "zone") {
		t.Error(err)
	}
}

func TestForwardWithoutAnswer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	noise, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noise.Close() })
	go func() {
		for {
			conn, err := noise.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "%s\r\n\r\n", answerCanary)
			conn.Close()
		}
	}()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	for name, test := range map[string]struct{ url, want string }{
		"no listener":           {"http://" + closed, "connection refused"},
		"what is not HTTP":      {"http://" + noise.Addr().String(), "no response"},
		"what is not TLS":       {"https://" + noise.Addr().String(), "does not speak TLS"},
		"untrusted certificate": {untrusted.URL, "certificate"},
		"no such host":          {"http://no-such-host.invalid", "no-such-host.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := newForward(t, target("crm", test.url)).Work(context.Background(), forwardedEvent())
			if jobtest.Outcome(err) != "retried" || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "crm") {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			noLeak(t, err.Error())
		})
	}
}

// The status decides, even if the body never ends.
func TestForwardEndlessAnswer(t *testing.T) {
	t.Parallel()
	var much atomic.Int64
	t.Cleanup(func() {
		if n := much.Load(); n > 64<<20 { // far more than what buffers on the way hold
			t.Errorf("%d bytes were taken", n)
		}
	})
	for name, write := range map[string]func(w io.Writer) error{
		"much":     func(w io.Writer) error { n, err := w.Write(make([]byte, 1<<16)); much.Add(int64(n)); return err },
		"dripping": func(io.Writer) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newReceiver(t, func(w http.ResponseWriter, r *http.Request, _ int) {
				w.WriteHeader(200)
				_ = http.NewResponseController(w).Flush()
				for r.Context().Err() == nil {
					if write(w) != nil {
						return
					}
					if name == "dripping" {
						<-r.Context().Done()
					}
				}
			})
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := newForward(t, target("crm", to.URL)).Work(ctx, forwardedEvent()); err != nil || ctx.Err() != nil {
				t.Error(err, ctx.Err())
			}
		})
	}
}

// Workers reuse connections, over HTTP/1 and HTTP/2.
func TestForwardReusesConnections(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %t", http2), func(t *testing.T) {
			t.Parallel()
			var protocol atomic.Value
			to := unstarted(func(w http.ResponseWriter, r *http.Request, _ int) {
				protocol.Store(r.Proto)
				fmt.Fprint(w, strings.Repeat("x", 10_000))
			})
			to.EnableHTTP2 = http2
			to.StartTLS()
			t.Cleanup(to.Close)
			roots := x509.NewCertPool()
			roots.AddCert(to.Certificate())
			f := newForward(t, target("crm", to.URL)).Trust(roots)
			const requests = 20 // of each worker
			var group sync.WaitGroup
			for range worker.DefaultMaxWorkers {
				group.Go(func() {
					for range requests {
						if err := f.Work(context.Background(), forwardedEvent()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			group.Wait()
			// A worker opens a further connection if another worker took its
			// own. How often that happens depends on the load of the machine.
			if n := to.conn.Load(); n > worker.DefaultMaxWorkers*requests/4 {
				t.Errorf("%d connections for %d requests", n, worker.DefaultMaxWorkers*requests)
			}
			if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]; protocol.Load() != want {
				t.Errorf("%v, want %s", protocol.Load(), want)
			}
		})
	}
}

func TestForwardUsesNoProxy(t *testing.T) {
	t.Parallel()
	if newForward(t, target("crm", "http://127.0.0.1:1")).Transport().Proxy != nil {
		t.Error("the environment may name a proxy, whose address would be checked in place of the target's")
	}
}
