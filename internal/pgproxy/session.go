package pgproxy

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// session is one client's connection and the matching connection to the server.
//
// Its messages come in rounds. Each ReadyForQuery of the server ends a round;
// the first one ends the start of the session. A client may send the requests
// of several rounds before it reads a reply.
type session struct {
	proxy   *Proxy
	client  *pgproto3.Backend  // plays the server for the client
	server  *pgproto3.Frontend // plays the client for the server
	silent  atomic.Bool        // messages no longer pass in either direction
	muted   atomic.Bool        // replies no longer reach the client
	dropped atomic.Int64       // the round whose replies do not reach the client; 0 if there is none

	// Only the goroutine that forwards requests uses these.
	requests   *flow
	asking     int64           // the round of the next request
	statements map[string]bool // for each prepared statement of the client, whether it is a COMMIT
	portals    map[string]bool // the same for each portal

	// Only the goroutine that forwards replies uses these.
	replies   *flow
	answering int64 // the round of the next reply
}

// flow is the source of the messages of one direction. Reading from it first
// sends the messages that have been forwarded so far: the next one may depend
// on them.
type flow struct {
	from    net.Conn
	flush   func() error
	pending bool // messages wait to be flushed
	delay   *atomic.Int64
}

// Read implements io.Reader.
func (f *flow) Read(p []byte) (int, error) {
	if f.pending {
		f.pending = false
		time.Sleep(time.Duration(f.delay.Load()))
		if err := f.flush(); err != nil {
			return 0, err
		}
	}
	return f.from.Read(p)
}

// discard reads until the connection ends and forwards nothing, not even the
// messages that wait.
func (f *flow) discard() error {
	_, err := io.Copy(io.Discard, f.from)
	return err
}

func newSession(client, server net.Conn, proxy *Proxy) *session {
	s := &session{proxy: proxy, asking: 2, answering: 1, statements: map[string]bool{}, portals: map[string]bool{}}
	s.requests = &flow{from: client, delay: &proxy.delay}
	s.replies = &flow{from: server, delay: &proxy.delay}
	s.client = pgproto3.NewBackend(s.requests, client)
	s.server = pgproto3.NewFrontend(s.replies, server)
	s.requests.flush, s.replies.flush = s.server.Flush, s.client.Flush
	return s
}

// hangUp closes both connections.
func (s *session) hangUp() {
	_ = s.requests.from.Close()
	_ = s.replies.from.Close()
}

// ended hangs up after one direction has ended, unless the session is silent:
// then the other side must not notice.
func (s *session) ended() {
	if !s.silent.Load() {
		s.hangUp()
	}
}

// begin forwards the first message. It declines encryption.
func (s *session) begin() error {
	for {
		message, err := s.client.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch message.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := s.requests.from.Write([]byte{'N'}); err != nil {
				return err
			}
			continue
		}
		s.server.Send(message)
		if err := s.server.Flush(); err != nil {
			return err
		}
		if _, cancels := message.(*pgproto3.CancelRequest); cancels {
			_ = s.replies.discard() // until the server closes the connection
			return io.EOF
		}
		return nil
	}
}

func (s *session) forwardRequests() error {
	for {
		message, err := s.client.Receive()
		if err != nil {
			return err
		}
		if s.silent.Load() {
			return s.requests.discard()
		}
		if s.commits(message) {
			switch s.proxy.next() {
			case DropRequest:
				s.proxy.count()
				return nil
			case BlackHole:
				s.proxy.count()
				s.muted.Store(true)
				return s.requests.discard()
			case DropReply:
				s.dropped.Store(s.asking)
			}
		}
		switch message.(type) {
		case *pgproto3.Query, *pgproto3.Sync, *pgproto3.FunctionCall:
			s.asking++
		}
		s.server.Send(message)
		s.requests.pending = true
	}
}

func (s *session) forwardReplies() error {
	for {
		message, err := s.server.Receive()
		if err != nil {
			return err
		}
		if s.silent.Load() {
			return s.replies.discard()
		}
		drop := s.answering == s.dropped.Load()
		_, ends := message.(*pgproto3.ReadyForQuery)
		if ends {
			s.answering++
		}
		switch {
		case s.muted.Load():
			s.replies.pending = false
			continue
		case drop && ends: // the COMMIT has been executed
			s.proxy.count()
			return nil
		case drop:
			continue
		}
		if _, asks := message.(pgproto3.AuthenticationResponseMessage); asks {
			// The client answers only after the flush, so this is not a race.
			if err := s.client.SetAuthType(s.server.GetAuthType()); err != nil {
				return err
			}
		}
		if key, ok := message.(*pgproto3.BackendKeyData); ok && s.proxy.pools.Load() {
			key.ProcessID = pooledPID
		}
		s.client.Send(message)
		s.replies.pending = true
	}
}

// pooledPID is larger than the process ids of servers.
const pooledPID = 1 << 30

// commits reports whether a message makes the server execute a COMMIT. It also
// records which statements and portals are a COMMIT.
func (s *session) commits(message pgproto3.FrontendMessage) bool {
	switch m := message.(type) {
	case *pgproto3.Query:
		return isCommit(m.String)
	case *pgproto3.Parse:
		s.statements[m.Name] = isCommit(m.Query)
	case *pgproto3.Bind:
		s.portals[m.DestinationPortal] = s.statements[m.PreparedStatement]
	case *pgproto3.Execute:
		return s.portals[m.Portal]
	}
	return false
}

// isCommit reports whether the first statement of a query text is a COMMIT.
// Other statements may follow it in the same round trip.
func isCommit(sql string) bool {
	first, _, _ := strings.Cut(sql, ";")
	words := strings.Fields(strings.ToLower(first))
	return len(words) > 0 && (words[0] == "commit" || words[0] == "end") && len(words) <= 2
}
