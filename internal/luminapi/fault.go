package luminapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"
)

// Fault is one way for a request to fail. next gives the correct answer.
type Fault func(s *Server, w http.ResponseWriter, r *http.Request, next http.Handler)

// Fine returns the correct answer, without a fault.
func Fine() Fault {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
}

// Status answers with a status and header fields, given as alternating names
// and values.
func Status(code int, header ...string) Fault {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		refuse(w, code)
	}
}

// Answer answers 200 with the given body.
func Answer(mediaType, body string) Fault {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write([]byte(body))
	}
}

// ExpiredLink answers with a link that expired one second ago.
func ExpiredLink() Fault {
	return func(s *Server, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		writeLink(w, s.signed("agreement/expired"), time.Now().Add(-time.Second))
	}
}

// LinkTo answers with the given link, which expires in one minute.
func LinkTo(link string) Fault {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		writeLink(w, link, time.Now().Add(time.Minute))
	}
}

// Truncated sends half of the correct answer and closes the connection, as if
// the connection had been lost.
func Truncated() Fault { return half(true) }

// TruncatedWithoutLength is Truncated without a Content-Length. Only the
// content shows that half of it is missing.
func TruncatedWithoutLength() Fault { return half(false) }

// WithoutLength sends the whole correct answer without a Content-Length. The
// end of the connection marks the end of the answer.
func WithoutLength() Fault {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := correctAnswer(r, next)
		writeRaw(w, answer, answer.Body.Bytes(), false)
	}
}

func half(withLength bool) Fault {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := correctAnswer(r, next)
		writeRaw(w, answer, answer.Body.Bytes()[:answer.Body.Len()/2], withLength)
	}
}

func correctAnswer(r *http.Request, next http.Handler) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	return answer
}

// writeRaw writes an answer to the raw connection and closes the connection.
func writeRaw(w http.ResponseWriter, answer *httptest.ResponseRecorder, body []byte, withLength bool) {
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // impossible: the server speaks HTTP/1.1
	}
	defer conn.Close()
	fmt.Fprintf(buffer, "HTTP/1.1 %d OK\r\nContent-Type: %s\r\nConnection: close\r\n", answer.Code, answer.Header().Get("Content-Type"))
	if withLength {
		fmt.Fprintf(buffer, "Content-Length: %d\r\n", answer.Body.Len())
	}
	fmt.Fprint(buffer, "\r\n")
	_, _ = buffer.Write(body)
	_ = buffer.Flush()
}

// Silent sends nothing until the client disconnects or the stand-in closes.
func Silent() Fault {
	return func(s *Server, _ http.ResponseWriter, r *http.Request, _ http.Handler) { s.untilGone(r) }
}

// Stalled sends half of the correct answer and then nothing more.
func Stalled() Fault {
	return func(s *Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := correctAnswer(r, next)
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
		_ = http.NewResponseController(w).Flush()
		s.untilGone(r)
	}
}

func (s *Server) untilGone(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.closing:
	}
}
