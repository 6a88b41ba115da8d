// Package httpguard protects an [http.Server] that anyone can connect to. Use it
// for a public listener. It bounds what net/http leaves unbounded:
//
//   - The number of connections. When all are taken, a new connection replaces
//     the one that has kept the program waiting longest: for a request, or for
//     the caller to read its answer. A request that is being worked on is never
//     cut off.
//   - The number of header lines. net/http bounds only their bytes, and stores
//     each line in a map: 20 KiB of short lines take 250 KiB of memory.
//
// It closes a connection after a chunked request, and after an HTTP/1.0 request,
// as RFC 9112, section 6.1, requires of ambiguous ones. net/http ignores the
// Content-Length of the former and the Transfer-Encoding of the latter. A proxy
// that does not ignore them may see another end of the request. It would then
// pass each answer on to the wrong request.
//
// It also performs TLS handshakes in the goroutine of the connection, and
// reports the requests that net/http refuses before a handler runs.
//
//	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
//	httpguard.Attach(server)
//	server.Serve(httpguard.New(listener, httpguard.Config{MaxConns: 128}))
package httpguard
