package admin_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/admin"
)

func TestServer(t *testing.T) {
	t.Parallel()
	server := admin.NewServer(admin.New(admin.Config{}))
	limits := []time.Duration{server.ReadHeaderTimeout, server.ReadTimeout, server.WriteTimeout, server.IdleTimeout}
	if slices.Min(limits) <= 0 || server.MaxHeaderBytes <= 0 {
		t.Errorf("limits %v, %d", limits, server.MaxHeaderBytes)
	}
	server.ReadHeaderTimeout = 100 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		if err := errors.Join(server.Close(), <-served); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()

	dial := func(text string) net.Conn {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	response, err := http.ReadResponse(bufio.NewReader(dial("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")), nil)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("%v, %v", response, err)
	}
	response.Body.Close()
	if rest, err := io.ReadAll(dial("GET /healthz HTTP/1.1\r\nHo")); err != nil && !errors.Is(err, syscall.ECONNRESET) || strings.Contains(string(rest), "200") {
		t.Errorf("a slow header is not cut off: %q, %v", rest, err)
	}
}

// Connections that are slow or idle make room for others, and a header has a
// bounded number of lines.
func TestGuard(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := admin.NewServer(admin.New(admin.Config{}))
	served := make(chan error, 1)
	go func() { served <- server.Serve(admin.Guard(listener)) }()
	defer func() {
		_ = server.Close()
		<-served
	}()
	var held []net.Conn
	ask := func(request string) string {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_, _ = io.WriteString(conn, request)
		if !strings.HasSuffix(request, "\r\n\r\n") {
			held = append(held, conn)
			return ""
		}
		_ = conn.SetReadDeadline(time.Now().Add(4 * time.Second)) // less than slow headers may take
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		return line
	}
	const get = "GET /healthz HTTP/1.1\r\nHost: x\r\n"
	for range 128 {
		ask(get + "X")
	}
	for range 3 {
		if answer := ask(get + "\r\n"); !strings.Contains(answer, "200") {
			t.Errorf("answered %q while 128 connections are open", answer)
		}
	}
	if answer := ask("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"); strings.Contains(answer, "200") {
		t.Errorf("net/http answers OPTIONS *: %q", answer)
	}
	closed := 0
	for _, conn := range held {
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if closed < 3 {
		t.Errorf("%d connections made room for three", closed)
	}
	if answer := ask(get + strings.Repeat("a:\r\n", 200) + "\r\n"); !strings.Contains(answer, "431") {
		t.Errorf("200 lines: %q", answer)
	}
}

// Scrapes query the database, so few run at once.
func TestManyScrapes(t *testing.T) {
	t.Parallel()
	scraping, release := make(chan struct{}, 10), make(chan struct{})
	registry := prometheus.NewRegistry()
	registry.MustRegister(admin.NewRunCollector(func(context.Context) (time.Duration, error) {
		scraping <- struct{}{}
		<-release
		return 0, nil
	}))
	h := admin.New(admin.Config{Gatherer: registry})
	statuses := make(chan int, 5)
	for range 4 {
		go func() { statuses <- get(h, "/metrics").Code }()
	}
	for range 4 {
		<-scraping
	}
	if code := get(h, "/metrics").Code; code != 503 {
		t.Errorf("the fifth scrape was answered %d", code)
	}
	close(release)
	for range 4 {
		if code := <-statuses; code != 200 {
			t.Errorf("answered %d", code)
		}
	}
}
