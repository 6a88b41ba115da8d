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

// Codes that a client sends instead of a protocol version.
const (
	cancelRequest     = 80877102
	sslRequest        = 80877103
	encryptionRequest = 80877104 // GSSAPI
)

// session is one client's connection and the matching connection to the server.
type session struct {
	client, server net.Conn
	requests       *bufio.Reader
	proxy          *Proxy

	muted  atomic.Bool // replies no longer reach the client
	silent atomic.Bool // messages no longer pass in either direction

	// These map the names of the client's prepared statements and portals to
	// whether they are a COMMIT.
	statements, portals map[string]bool
}

func newSession(client, server net.Conn, proxy *Proxy) *session {
	return &session{
		client: client, server: server, requests: bufio.NewReader(client), proxy: proxy,
		statements: map[string]bool{}, portals: map[string]bool{},
	}
}

// hangUp closes both connections.
func (s *session) hangUp() {
	_ = s.client.Close()
	_ = s.server.Close()
}

// ended hangs up after one direction has ended, unless the session is silent:
// then the other side must not notice.
func (s *session) ended() {
	if !s.silent.Load() {
		s.hangUp()
	}
}

// applyDelay waits for the configured delay of messages.
func (s *session) applyDelay() {
	if delay := time.Duration(s.proxy.delay.Load()); delay > 0 {
		time.Sleep(delay)
	}
}

// begin forwards the first message, which has no type byte. It declines
// encryption.
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
			_, _ = io.Copy(io.Discard, s.server) // until the server closes the connection
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
			s.applyDelay()
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
			s.applyDelay()
			if err := to.Flush(); err != nil {
				return err
			}
		}
	}
}

// commits reports whether a message makes the server execute a COMMIT. It also
// records which statements and portals are a COMMIT.
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

// isCommit reports whether the first statement of a NUL-terminated text is a
// COMMIT. Other statements may follow it in the same round trip.
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

// readBody reads a message after its type byte: first the length, which
// includes itself, then the content.
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
