package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

const (
	// sessionLength is a long working day.
	sessionLength = 12 * time.Hour

	// maxSessions bounds memory. A new session replaces the oldest one.
	maxSessions = 1000
)

// sessions are those that have begun and not ended. They are identified by the
// hash of their cookie, so a look-up tells nothing about other cookies.
type sessions struct {
	mu   sync.Mutex
	open map[[sha256.Size]byte]session
}

type session struct {
	token   [sha256.Size]byte // the hash of the token that began it
	expires time.Time
}

// begin starts a session and returns the value of its cookie.
func (s *sessions) begin(t Token, now time.Time) (cookie string) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: see its documentation
	cookie = base64.RawURLEncoding.EncodeToString(random[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[[sha256.Size]byte]session{}
	}
	if len(s.open) >= maxSessions {
		s.dropOldest(now)
	}
	s.open[sha256.Sum256([]byte(cookie))] = session{t.Hash, now.Add(sessionLength)}
	return cookie
}

// dropOldest drops what has expired, or else the session that expires first.
func (s *sessions) dropOldest(now time.Time) {
	var (
		oldest [sha256.Size]byte
		first  time.Time
	)
	for id, one := range s.open {
		switch {
		case one.expires.Before(now):
			delete(s.open, id)
		case first.IsZero() || one.expires.Before(first):
			oldest, first = id, one.expires
		}
	}
	if len(s.open) >= maxSessions {
		delete(s.open, oldest)
	}
}

// find returns the token of the session with this cookie. It ends the session if it
// has expired or if its token is gone.
func (s *sessions) find(cookie string, tokens []Token, now time.Time) (t Token, ok bool) {
	id := sha256.Sum256([]byte(cookie))
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.open[id]
	if !ok {
		return t, false
	}
	if now.Before(found.expires) {
		for _, t := range tokens {
			if t.Hash == found.token {
				return t, true
			}
		}
	}
	delete(s.open, id)
	return t, false
}

// end ends the session with this cookie, if there is one.
func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(cookie)))
}
