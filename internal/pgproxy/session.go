package pgproxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// Codes that a client sends in the place of a protocol version.
const (
	cancelRequest     = 80877102
	sslRequest        = 80877103
	encryptionRequest = 80877104 // GSSAPI
)

// session is one client's connection and the one to the server behind it.
type session struct {
	client, server net.Conn
	requests       *bufio.Reader
	proxy          *Proxy

	muted  atomic.Bool // the client is not to hear of the server any more
	silent atomic.Bool // neither side is to hear of the other any more

	// Prepared statements and portals of the client that are a COMMIT, by name.
	statements, portals map[string]bool
}

func newSession(client, server net.Conn, proxy *Proxy) *session {
	return &session{
		client: client, server: server, requests: bufio.NewReader(client), proxy: proxy,
		statements: map[string]bool{}, portals: map[string]bool{},
	}
}

// hangUp ends both connections.
func (s *session) hangUp() {
	_ = s.client.Close()
	_ = s.server.Close()
}

// ended hangs up when one direction has ended, unless that is to stay unnoticed.
func (s *session) ended() {
	if !s.silent.Load() {
		s.hangUp()
	}
}

// hold waits for as long as messages are delayed.
func (s *session) hold() {
	if delay := time.Duration(s.proxy.delay.Load()); delay > 0 {
		time.Sleep(delay)
	}
}

// begin forwards the first message, which has no type. Encryption is declined.
func (s *session) begin() error {
	for {
		body, err := readBody(s.requests)
		if err != nil {
			return err
		}
		if len(body) < 4 {
			return errNotPostgres
		}
		switch binary.BigEndian.Uint32(body) {
		case sslRequest, encryptionRequest:
			if _, err := s.client.Write([]byte{'N'}); err != nil {
				return err
			}
			continue
		case cancelRequest:
			_ = writeMessage(s.server, nil, body)
			_, _ = io.Copy(io.Discard, s.server) // the server closes it
			return io.EOF
		}
		return writeMessage(s.server, nil, body)
	}
}

func (s *session) forwardRequests() error {
	to := bufio.NewWriter(s.server)
	for {
		kind, err := s.requests.ReadByte()
		if err != nil {
			return err
		}
		body, err := readBody(s.requests)
		if err != nil {
			return err
		}
		if s.silent.Load() {
			_, err := io.Copy(io.Discard, s.requests)
			return err
		}
		if s.commits(kind, body) {
			switch s.proxy.next() {
			case DropRequest:
				s.proxy.count()
				return nil
			case BlackHole:
				s.proxy.count()
				s.muted.Store(true)
				_, err := io.Copy(io.Discard, s.requests)
				return err
			case DropReply:
				s.muted.Store(true)
			}
		}
		if err := writeMessage(to, []byte{kind}, body); err != nil {
			return err
		}
		if s.requests.Buffered() == 0 {
			s.hold()
			if err := to.Flush(); err != nil {
				return err
			}
		}
	}
}

func (s *session) forwardReplies() error {
	from, to := bufio.NewReader(s.server), bufio.NewWriter(s.client)
	for {
		kind, err := from.ReadByte()
		if err != nil {
			return err
		}
		body, err := readBody(from)
		if err != nil {
			return err
		}
		if s.silent.Load() {
			_, err := io.Copy(io.Discard, from)
			return err
		}
		if s.muted.Load() {
			if kind == 'Z' { // ready for the next query: the COMMIT has been answered
				s.proxy.count()
				return nil
			}
			continue
		}
		if err := writeMessage(to, []byte{kind}, body); err != nil {
			return err
		}
		if from.Buffered() == 0 {
			s.hold()
			if err := to.Flush(); err != nil {
				return err
			}
		}
	}
}

// commits reports whether a message has the server execute a COMMIT, and keeps in
// mind which statements and portals would.
func (s *session) commits(kind byte, body []byte) bool {
	switch kind {
	case 'Q':
		return isCommit(body)
	case 'P': // Parse: name of the statement, its text, types
		name, rest := cutName(body)
		s.statements[name] = isCommit(rest)
	case 'B': // Bind: name of the portal, of the statement, values
		portal, rest := cutName(body)
		statement, _ := cutName(rest)
		s.portals[portal] = s.statements[statement]
	case 'E': // Execute: name of the portal, count
		portal, _ := cutName(body)
		return s.portals[portal]
	}
	return false
}

// isCommit looks at a text that ends with its first NUL, and there at the first
// statement: others may follow in the same round trip.
func isCommit(text []byte) bool {
	sql, _ := cutName(text)
	first, _, _ := strings.Cut(sql, ";")
	words := strings.Fields(strings.ToLower(first))
	return len(words) > 0 && (words[0] == "commit" || words[0] == "end") && len(words) <= 2
}

func cutName(body []byte) (name string, rest []byte) {
	before, rest, _ := bytes.Cut(body, []byte{0})
	return string(before), rest
}

var errNotPostgres = errors.New("not a message of PostgreSQL's protocol")

// readBody reads a message behind its type: its length, which counts itself, and
// what it holds.
func readBody(from io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size < 4 || size > 1<<30 { // PostgreSQL's own limit
		return nil, errNotPostgres
	}
	body := make([]byte, size-4)
	_, err := io.ReadFull(from, body)
	return body, err
}

func writeMessage(to io.Writer, kind, body []byte) error {
	head := binary.BigEndian.AppendUint32(kind, uint32(len(body)+4))
	if _, err := to.Write(head); err != nil {
		return err
	}
	_, err := to.Write(body)
	return err
}
