package pgproxy

import (
	"io"
	"net"
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
	client  *pgproto3.Backend    // plays the server for the client
	server  *pgproto3.Frontend   // plays the client for the server
	silent  atomic.Bool          // messages no longer pass in either direction
	held    atomic.Bool          // replies wait; they reach the client with a later one
	dropped atomic.Pointer[drop] // the reply that does not reach the client; nil if there is none
	pid     atomic.Uint32        // process id of the server's session

	// Only the goroutine that forwards requests uses these.
	requests   *flow
	asking     int               // the round of the next request
	executes   int               // Execute messages in that round
	statements map[string]string // query text of each prepared statement of the client
	portals    map[string]string // the same for each portal
	inTx       bool
	earlier    []string // statements since the transaction began

	replies  *flow // only the goroutine that forwards replies uses it
	progress *progress
}

// drop identifies the reply to a struck statement. The other replies of its
// round do not reach the client either.
type drop struct {
	strike  *Strike
	round   int
	execute int // number of the Execute message in the round; 0 for a simple query
}

// flow is the source of the messages of one direction. Reading from it first
// sends the messages that have been forwarded so far: the next one may depend
// on them.
type flow struct {
	from    net.Conn
	flush   func() error
	pending bool // messages wait to be flushed
	proxy   *Proxy
}

// Read implements io.Reader.
func (f *flow) Read(p []byte) (int, error) {
	if f.pending {
		if err := f.send(); err != nil {
			return 0, err
		}
	}
	return f.from.Read(p)
}

// send sends the messages that have been forwarded so far.
func (f *flow) send() error {
	f.pending = false
	f.proxy.pass()
	return f.flush()
}

// discard reads until the connection ends and forwards nothing, not even the
// messages that wait.
func (f *flow) discard() error {
	_, err := io.Copy(io.Discard, f.from)
	return err
}

func newSession(client, server net.Conn, proxy *Proxy) *session {
	s := &session{proxy: proxy, asking: 2, progress: newProgress(), statements: map[string]string{}, portals: map[string]string{}}
	s.requests = &flow{from: client, proxy: proxy}
	s.replies = &flow{from: server, proxy: proxy}
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
		if m, executes := s.statement(message); executes {
			if strike := s.proxy.next(m); strike != nil {
				if done, err := s.strike(message, strike); done || err != nil {
					return err
				}
			}
		}
		switch message.(type) {
		case *pgproto3.Query, *pgproto3.Sync, *pgproto3.FunctionCall:
			s.asking++
			s.executes = 0
		}
		s.server.Send(message)
		s.requests.pending = true
	}
}

// strike applies a fault to a statement. It reports whether nothing more is
// forwarded.
func (s *session) strike(message pgproto3.FrontendMessage, strike *Strike) (done bool, err error) {
	executed, err := s.executeEarlier()
	if err != nil {
		return true, err
	}
	if !executed || strike.When != nil && !strike.When(s.pid.Load()) { // the server skips a statement after an error
		s.held.Store(false)
		s.proxy.spare(strike)
		return false, nil
	}
	switch strike.Fault {
	case DropRequest:
		s.hit(strike)
		return true, nil
	case BlackHole:
		s.hit(strike)
		s.held.Store(true)
		return true, s.requests.discard()
	case DropReply:
		return true, s.forwardLast(message, strike)
	case Late:
		s.hit(strike)
		time.Sleep(strike.Wait)
		s.held.Store(false)
	case Pass:
		s.held.Store(false)
	}
	return false, nil
}

// executeEarlier makes the server execute the statements before the current one
// that the client has sent without waiting for their replies. It reports whether
// that succeeded. Without Flush the server would keep their replies, as the client
// has not asked for them yet. So they are held.
func (s *session) executeEarlier() (bool, error) {
	earlier := max(0, s.executes-1)
	if s.progress.lacks(s.asking, earlier) {
		s.held.Store(true)
		s.server.Send(&pgproto3.Flush{})
		if err := s.requests.send(); err != nil {
			return false, err
		}
	}
	return s.progress.wait(s.asking, earlier), nil
}

// hit calls Do and counts the struck statement.
func (s *session) hit(strike *Strike) {
	if strike.Do != nil {
		strike.Do()
	}
	s.proxy.count()
}

// forwardLast forwards a statement whose reply is dropped, and nothing after
// it.
func (s *session) forwardLast(message pgproto3.FrontendMessage, strike *Strike) error {
	s.dropped.Store(&drop{strike, s.asking, s.executes})
	s.server.Send(message)
	if s.executes > 0 { // without Sync the server would keep its reply
		s.server.Send(&pgproto3.Flush{})
	}
	if err := s.requests.send(); err != nil {
		return err
	}
	return s.requests.discard()
}

func (s *session) forwardReplies() error {
	defer s.progress.end()
	for {
		message, err := s.server.Receive()
		if err != nil {
			return err
		}
		if s.silent.Load() {
			s.progress.end()
			return s.replies.discard()
		}
		drop := s.dropped.Load()
		if drop != nil && drop.round != s.progress.round {
			drop = nil
		}
		switch answered := s.answers(message, drop); {
		case answered:
			s.hit(drop.strike)
			return nil
		case drop != nil:
			continue
		}
		if _, asks := message.(pgproto3.AuthenticationResponseMessage); asks {
			// The client answers only after the flush, so this is not a race.
			if err := s.client.SetAuthType(s.server.GetAuthType()); err != nil {
				return err
			}
		}
		if key, ok := message.(*pgproto3.BackendKeyData); ok {
			s.pid.Store(key.ProcessID)
			if s.proxy.pools.Load() {
				key.ProcessID = pooledPID
			}
		}
		s.client.Send(message)
		s.replies.pending = !s.held.Load()
	}
}

// pooledPID is larger than the process ids of servers.
const pooledPID = 1 << 30

// answers notes a reply. It reports whether the message ends the reply to the
// struck statement.
func (s *session) answers(message pgproto3.BackendMessage, d *drop) bool {
	p := s.progress
	switch message.(type) {
	case *pgproto3.ReadyForQuery:
		p.note(func() { p.round, p.executed, p.failed = p.round+1, 0, false })
		return d != nil
	case *pgproto3.CommandComplete, *pgproto3.EmptyQueryResponse, *pgproto3.PortalSuspended:
		p.note(func() { p.executed++ })
		return d != nil && d.execute > 0 && p.executed == d.execute
	case *pgproto3.ErrorResponse: // the server skips the rest of the round
		p.note(func() { p.failed = true })
		return d != nil && d.execute > 0
	}
	return false
}

// statement reports whether a message makes the server execute a statement, and
// which one. It also records the texts of statements and portals.
func (s *session) statement(message pgproto3.FrontendMessage) (m Moment, executes bool) {
	switch message := message.(type) {
	case *pgproto3.Query:
		m.SQL = message.String
	case *pgproto3.Parse:
		s.statements[message.Name] = message.Query
		return m, false
	case *pgproto3.Bind:
		s.portals[message.DestinationPortal] = s.statements[message.PreparedStatement]
		return m, false
	case *pgproto3.Execute:
		s.executes++
		m.SQL = s.portals[message.Portal]
	default:
		return m, false
	}
	m.Earlier = s.earlier
	switch {
	case begins(m.SQL):
		s.inTx, s.earlier = true, nil
	case ends(m.SQL):
		s.inTx, s.earlier = false, nil
	case s.inTx:
		s.earlier = append(s.earlier[:len(s.earlier):len(s.earlier)], m.SQL)
	}
	return m, true
}
