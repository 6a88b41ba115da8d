// Package luminapi is a stand-in for Lumin's API in tests. It answers as
// observed on the live service, misbehaves on request, and records the
// requests.
//
//	api := luminapi.New()
//	t.Cleanup(api.Close)
//	api.SetRequest("fa5c8a0b", map[string]any{"status": "APPROVED"})
//	api.SetFile("fa5c8a0b", lumin.FileAgreement, luminapi.PDF(5000))
//	client := api.Client()
//
// Next makes the next requests fail, one fault per request:
//
//	api.Next(luminapi.Status(429, "Retry-After", "7"), luminapi.Truncated())
//
// The answer to a file request is a link to another host. A client must not
// send its key there:
//
//	for _, r := range api.Requests(luminapi.Links) { ... r.Header.Get("X-API-Key") ... }
//
// Lumin's documentation also allows the file itself as the answer:
//
//	api.UseLinks(false)
package luminapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lumin-ingest/lumin"
)

// The credentials that the API accepts, and the tokens in its signed links and
// in each details_url.
const (
	APIKey       = "canary-api-key"
	Token        = "canary-oauth-token"
	LinkToken    = "canary-link-token"
	DetailsToken = "canary-details-token"
)

// Place is the part of the stand-in that received a request.
type Place string

// The places that receive requests.
const (
	API     Place = "api"
	Links   Place = "links"   // the host of signed links
	Details Place = "details" // the host of each details_url, which no client should request
)

// Request is a received request.
type Request struct {
	Place  Place
	Method string
	URI    string // path and query, as sent
	Header http.Header
}

// Server is the stand-in. Its methods are safe for concurrent use.
type Server struct {
	api, links, details *httptest.Server
	closing             chan struct{}

	mu       sync.Mutex
	requests map[string]map[string]any
	files    map[string][]byte // by file type and id
	useLinks bool
	only     string // the only media type offered for files; empty means any
	faults   map[Place][]Fault
	always   Fault // for requests to the API without a fault of their own
	received []Request
}

// New starts a stand-in on this machine without any signature requests. The
// caller closes it.
func New() *Server {
	s := &Server{
		requests: map[string]map[string]any{}, files: map[string][]byte{}, faults: map[Place][]Fault{},
		useLinks: true, closing: make(chan struct{}), always: Fine(),
	}
	api := http.NewServeMux()
	api.HandleFunc("GET /v1/signature_request/{id}", s.signatureRequest)
	api.HandleFunc("GET /v1/signature_request/{id}/file", s.file)
	s.api = httptest.NewServer(s.at(API, keyed(api)))
	s.links = httptest.NewServer(s.at(Links, http.HandlerFunc(s.linked)))
	s.details = httptest.NewServer(s.at(Details, http.NotFoundHandler()))
	return s
}

// Close stops the stand-in and aborts the requests in progress.
func (s *Server) Close() {
	close(s.closing)
	for _, server := range []*httptest.Server{s.api, s.links, s.details} {
		server.CloseClientConnections()
		server.Close()
	}
}

// URL returns the base URL of the API.
func (s *Server) URL() string { return s.api.URL + "/v1" }

// LinkURL returns the base URL of signed links.
func (s *Server) LinkURL() string { return s.links.URL }

// Client returns a client with the right key.
func (s *Server) Client() *lumin.Client {
	client, err := lumin.NewClient(lumin.ClientConfig{BaseURL: s.URL(), APIKey: APIKey})
	if err != nil {
		panic(err) // impossible: the URL and the key are valid
	}
	return client
}

// SetRequest sets the state of a signature request. members become members of
// its object, in addition to its id and a details_url. An int is sent as a
// string, like the times in the API's schema. Nil removes the request, so that
// it gives a 404.
func (s *Server) SetRequest(id string, members map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if members == nil {
		delete(s.requests, id)
		return
	}
	object := map[string]any{"signature_request_id": id, "details_url": s.details.URL + "/view?token=" + DetailsToken}
	for name, value := range members {
		if number, ok := value.(int); ok {
			value = strconv.Itoa(number)
		}
		object[name] = value
	}
	s.requests[id] = object
}

// SetFile sets a file of a signature request. Nil removes the file, so that it
// gives a 404.
func (s *Server) SetFile(id string, t lumin.FileType, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if content == nil {
		delete(s.files, fileName(id, string(t)))
		return
	}
	s.files[fileName(id, string(t))] = content
}

func fileName(id, fileType string) string { return fileType + "/" + id }

// UseLinks selects the answer to file requests: a link (true, the default) or
// the file itself (false).
func (s *Server) UseLinks(use bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.useLinks = use
}

// Only restricts file requests to this media type. Any other Accept header gets
// a 406.
func (s *Server) Only(mediaType string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.only = mediaType
}

// Next makes the next requests to the API fail, one per fault. Requests after
// those succeed again.
func (s *Server) Next(faults ...Fault) { s.next(API, faults) }

// Each applies a fault to all requests to the API that have none of their own.
func (s *Server) Each(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always = fault
}

// NextLink is like Next, for requests to signed links.
func (s *Server) NextLink(faults ...Fault) { s.next(Links, faults) }

func (s *Server) next(place Place, faults []Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[place] = append(s.faults[place], faults...)
}

// Requests returns the requests to the given places, in order of arrival.
// Without arguments it returns the requests to all places.
func (s *Server) Requests(places ...Place) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.received), func(r Request) bool {
		return len(places) > 0 && !slices.Contains(places, r.Place)
	})
}

// at records each request to a place and applies the next fault, if one is set.
func (s *Server) at(place Place, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.received = append(s.received, Request{place, r.Method, r.RequestURI, r.Header.Clone()})
		fault := Fine()
		if place == API {
			fault = s.always
		}
		if waiting := s.faults[place]; len(waiting) > 0 {
			fault, s.faults[place] = waiting[0], waiting[1:]
		}
		s.mu.Unlock()
		fault(s, w, r, next)
	})
}

// keyed refuses requests without a valid credential.
func keyed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-API-Key") != APIKey && r.Header.Get("Authorization") != "Bearer "+Token {
			refuse(w, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuse answers with a status and a body that no error text may quote.
func refuse(w http.ResponseWriter, status int) {
	code, known := map[int]string{
		http.StatusConflict: "signature_request_not_approved", http.StatusNotFound: "signature_request_not_found",
		http.StatusNotAcceptable: "not_acceptable", http.StatusUnauthorized: "unauthorized",
	}[status]
	if !known {
		code = "bad_request"
	}
	writeJSON(w, status, map[string]any{"error_code": code, "error_message": "canary-answer for ada@example.com"})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // fails only if the client has disconnected
}

func (s *Server) signatureRequest(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	object, known := s.requests[r.PathValue("id")]
	s.mu.Unlock()
	if !known {
		refuse(w, http.StatusNotFound)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"signature_request": object})
}

func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	fileType := r.URL.Query().Get("type")
	if fileType == "" {
		fileType = string(lumin.FileAgreement)
	}
	name := fileName(r.PathValue("id"), fileType)
	s.mu.Lock()
	content, known := s.files[name]
	status, open := s.requests[r.PathValue("id")]["status"]
	open = open && status != string(lumin.StatusApproved)
	useLinks, only := s.useLinks, s.only
	s.mu.Unlock()
	accept := strings.Join(r.Header.Values("Accept"), ",")
	switch {
	case strings.Contains(accept, ","), only != "" && accept != only:
		refuse(w, http.StatusNotAcceptable)
	case open:
		refuse(w, http.StatusConflict)
	case !known:
		refuse(w, http.StatusNotFound)
	case useLinks && accept == "application/json":
		writeLink(w, s.signed(name), time.Now().Add(linkLifetime))
	default:
		writePDF(w, "application/pdf", content)
	}
}

// linkLifetime is the lifetime in Lumin's documentation.
const linkLifetime = 30 * time.Minute

// signed returns a signed link to a file.
func (s *Server) signed(name string) string {
	return s.links.URL + (&url.URL{Path: "/" + name}).EscapedPath() + "?token=" + LinkToken
}

// writeLink answers like the live service, with download_url and milliseconds.
// Lumin documents signed_url and seconds.
func writeLink(w http.ResponseWriter, link string, expiresAt time.Time) {
	writeJSON(w, http.StatusOK, map[string]any{"download_url": link, "expires_at": expiresAt.UnixMilli()})
}

func writePDF(w http.ResponseWriter, mediaType string, content []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	_, _ = w.Write(content)
}

// linked answers requests to signed links, like a file store.
func (s *Server) linked(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	content, known := s.files[strings.TrimPrefix(r.URL.Path, "/")]
	s.mu.Unlock()
	if !known || r.URL.Query().Get("token") != LinkToken {
		refuse(w, http.StatusForbidden)
		return
	}
	writePDF(w, "binary/octet-stream", content)
}

// PDF returns a file that begins and ends like a PDF. It has size bytes, and at
// least 64.
func PDF(size int) []byte {
	const head, tail = "%PDF-1.7\n", "\nstartxref\n0\n%%EOF\n"
	line := "0 0 m 0 0 l S\n"
	body := strings.Repeat(line, size/len(line)+1)
	return []byte(head + body[:max(size, 64)-len(head)-len(tail)] + tail)
}
