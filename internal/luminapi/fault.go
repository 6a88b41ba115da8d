package luminapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"
)

// Fault is one way for a request to go wrong. next is the right answer.
type Fault func(s *Server, w http.ResponseWriter, r *http.Request, next http.Handler)

// Fine is no fault: the request is answered as it should be.
func Fine() Fault {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
}

// Status answers with a status, and with header fields given as names and values.
func Status(code int, header ...string) Fault {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		refuse(w, code)
	}
}

// Answer answers 200 with this body.
func Answer(mediaType, body string) Fault {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write([]byte(body))
	}
}

// ExpiredLink answers with a link that is over.
func ExpiredLink() Fault {
	return func(s *Server, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		writeLink(w, s.signed("agreement/expired"), time.Now().Add(-time.Second))
	}
}

// LinkTo answers with a good link to somewhere else.
func LinkTo(link string) Fault {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		writeLink(w, link, time.Now().Add(time.Minute))
	}
}

// Truncated sends half of the right answer and closes the connection, as if it had
// been lost.
func Truncated() Fault { return half(true) }

// TruncatedUntold is Truncated without a Content-Length, so that nothing but the file
// tells that half of it is missing.
func TruncatedUntold() Fault { return half(false) }

// Untold sends all of the right answer, and ends it with the connection.
func Untold() Fault {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := rightAnswer(r, next)
		writeRaw(w, answer, answer.Body.Bytes(), false)
	}
}

func half(told bool) Fault {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := rightAnswer(r, next)
		writeRaw(w, answer, answer.Body.Bytes()[:answer.Body.Len()/2], told)
	}
}

func rightAnswer(r *http.Request, next http.Handler) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	return answer
}

// writeRaw writes an answer on the bare connection and closes that.
func writeRaw(w http.ResponseWriter, answer *httptest.ResponseRecorder, body []byte, told bool) {
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // the server is HTTP/1.1
	}
	defer conn.Close()
	fmt.Fprintf(buffer, "HTTP/1.1 %d OK\r\nContent-Type: %s\r\nConnection: close\r\n", answer.Code, answer.Header().Get("Content-Type"))
	if told {
		fmt.Fprintf(buffer, "Content-Length: %d\r\n", answer.Body.Len())
	}
	fmt.Fprint(buffer, "\r\n")
	_, _ = buffer.Write(body)
	_ = buffer.Flush()
}

// Silent answers nothing until the client or the stand-in goes away.
func Silent() Fault {
	return func(s *Server, _ http.ResponseWriter, r *http.Request, _ http.Handler) { s.untilGone(r) }
}

// Stalled begins the right answer, and sends nothing more.
func Stalled() Fault {
	return func(s *Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := rightAnswer(r, next)
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
