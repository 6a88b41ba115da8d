// Package httpguard protects an [http.Server] from callers that it knows
// nothing about. It bounds what net/http leaves unbounded:
//
//   - The number of connections. When all are taken, a new connection replaces
//     the one that has kept the program waiting for longest, for a request or
//     for taking its answer. A request that is being worked on is never cut off.
//   - The number of header lines. net/http bounds only their bytes, and stores
//     each line in a map: 20 KiB of short lines take 250 KiB of memory.
//
// It closes a connection after a chunked request, and after one of HTTP/1.0.
// net/http ignores the Content-Length of the former and the Transfer-Encoding of
// the latter. A proxy that does not could disagree where the request ends, and
// would then take each answer for that of another request. RFC 9112, section
// 6.1, asks for the same.
//
// It also performs TLS handshakes in the goroutine of the connection, and
// counts the requests that net/http refuses before a handler runs.
//
//	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
//	httpguard.Attach(server)
//	server.Serve(httpguard.New(listener, httpguard.Config{MaxConns: 128}))
package httpguard
