package hostile

import (
	"fmt"
	"strings"
)

// Lines returns n header lines with different short names.
func Lines(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "%c%c%c:\n", letters[i%36], letters[i/36%36], letters[i/1296%36])
	}
	return lines.String()
}

// headers are header lines that are malformed, repeated or too many.
func (p delivery) headers() []Case {
	with := func(lines string) string { return p.head + p.length + lines + "\r\n" + p.body }
	const ask = "GET /healthz HTTP/1.1\r\nHost: x\r\n"
	_, signature, _ := strings.Cut(p.head, "X-Signature: ")
	twice := Case{Name: "two signatures", Send: with("X-Signature: " + signature), Answers: []int{401}, Open: true}
	folded := strings.Replace(p.head, "X-Signature: ", "X-Signature:\r\n ", 1)
	return []Case{
		twice,
		accepted("two values of Content-Type", with("Content-Type: text/plain\r\nContent-Type: application/json\r\n")),
		refused("two hosts", with("Host: y\r\n")+p.valid, 400),
		refused("no host", strings.Replace(p.valid, "Host: x\r\n", "", 1)+p.valid, 400),
		refused("a host with a space", strings.Replace(p.valid, "Host: x", "Host: x y", 1)+p.valid, 400),
		accepted("an empty host", strings.Replace(p.valid, "Host: x", "Host:", 1)),
		refused("gzip", with("Content-Encoding: gzip\r\n")+p.valid, 415),
		refused("identity, and gzip on another line", with("Content-Encoding: identity\r\nContent-Encoding: gzip\r\n")+p.valid, 415),
		accepted("identity", with("Content-Encoding: identity\r\n")),

		accepted("a continued line", folded+p.length+"\r\n"+p.body),
		accepted("bare line feeds", strings.ReplaceAll(p.head+p.length, "\r\n", "\n")+"\n"+p.body),
		accepted("a value with tabs and bytes above 127", with("X: a\tb\xff\r\n")),
		refused("a continued line first", strings.Replace(p.valid, "Host: x", " Host: x", 1)+p.valid, 400),
		refused("a space before a colon", with("X-Signature : "+signature)+p.valid, 400),
		refused("a NUL in a value", with("X: a\x00b\r\n")+p.valid, 400),
		refused("a NUL in a name", with("X\x00: a\r\n")+p.valid, 400),
		refused("a tab in a name", with("X\t: a\r\n")+p.valid, 400),
		refused("a bare carriage return in a value", with("X: a\rContent-Length: 0\r\n")+p.valid, 400),
		refused("a name above 127", with("X\xe9: a\r\n")+p.valid, 400),
		refused("an empty name", with(": a\r\n")+p.valid, 400),
		refused("a line without a colon", with("X\r\n")+p.valid, 400),

		accepted("100 lines", with(Lines(96))), // with the request line and three others
		refused("101 lines", with(Lines(97))+p.valid, 431),
		refused("100 lines of one name", with(strings.Repeat("a:\n", 97))+p.valid, 431),
		refused("16 KiB of short lines", with(Lines(4000)), 431),
		refused("a long line", with("X: "+strings.Repeat("x", 64<<10)+"\r\n"), 431),
		refused("a long name", with(strings.Repeat("x", 64<<10)+":\r\n"), 431),
		refused("a long path", "POST /"+strings.Repeat("x", 64<<10)+" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
		{Name: "short lines behind another request", Send: ask + "\r\n" + ask + Lines(800) + "\r\n", Answers: []int{200, 431}},
		{Name: "short lines behind a delivery", Send: p.valid + ask + Lines(800) + "\r\n", Answers: []int{200, 431}, Recorded: 1},
	}
}

// requestLines are unusual or malformed request lines, and other protocols.
func (p delivery) requestLines() []Case {
	with := func(line string) string {
		_, rest, _ := strings.Cut(p.valid, "\r\n")
		return line + "\r\n" + rest
	}
	const path = "/webhooks/account"
	return []Case{
		refused("HTTP/0.9", "GET /healthz\r\n\r\n", 400),
		refused("HTTP/2.0", with("POST "+path+" HTTP/2.0")+p.valid, 505),
		refused("HTTP/1.10", with("POST "+path+" HTTP/1.10")+p.valid, 400),
		refused("http/1.1", with("POST "+path+" http/1.1")+p.valid, 400),
		refused("no version", with("POST "+path)+p.valid, 400),
		refused("two spaces", with("POST  "+path+" HTTP/1.1")+p.valid, 400),
		refused("tabs", with("POST\t"+path+"\tHTTP/1.1")+p.valid, 400),
		refused("a NUL in the path", with("POST "+path+"\x00 HTTP/1.1")+p.valid, 400),
		refused("a relative path", with("POST webhooks/account HTTP/1.1")+p.valid, 400),
		refused("an authority as path", with("POST x:80 HTTP/1.1")+p.valid, 404),
		refused("CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", 404),
		accepted("an absolute URL", with("POST http://other"+path+" HTTP/1.1")),
		refused("a method in small letters", with("post "+path+" HTTP/1.1")+p.valid, 405),
		refused("two slashes", with("POST /"+path+" HTTP/1.1")+p.valid, 404),
		refused("dots", with("POST /x/.."+path+" HTTP/1.1")+p.valid, 404),

		refused("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 404),
		accepted("an offer of HTTP/2", strings.Replace(p.valid, "Host: x\r\n",
			"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 1)),
		refused("TLS on a plain port", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400),
		refused("noise", "\x00\x01\x02\r\n\r\n", 400),
	}
}

// connections are sequences of requests, and requests about the connection.
func (p delivery) connections() []Case {
	with := func(lines string) string { return p.head + p.length + lines + "\r\n" + p.body }
	old := strings.Replace(p.valid, "HTTP/1.1", "HTTP/1.0", 1)
	return []Case{
		{Name: "two deliveries at once", Send: p.valid + p.valid, Answers: []int{200, 200}, Recorded: 2, Open: true},
		{Name: "a delivery, then a malformed request", Send: p.valid + "POST\r\n\r\n" + p.valid, Answers: []int{200, 400}, Recorded: 1},
		{Name: "a delivery, then half a request", Send: p.valid + p.head, Cut: HalfClose, Answers: []int{200, 400}, Recorded: 1},
		{Name: "a delivery, then a line end", Send: p.valid + "\r\n" + p.valid, Answers: []int{200, 200}, Recorded: 2, Open: true},
		{Name: "a delivery, and no wait for its answer", Send: p.valid, Cut: HalfClose, Answers: []int{200}, Recorded: 1},
		{Name: "100-continue", Send: with("Expect: 100-continue\r\n"), Answers: []int{100, 200}, Recorded: 1, Open: true},
		refused("another expectation", with("Expect: 200-ok\r\n")+p.valid, 417),
		lastAccepted("HTTP/1.0", old+p.valid),
		lastAccepted("HTTP/1.0 with keep-alive", strings.Replace(old, "Host: x", "Host: x\r\nConnection: keep-alive", 1)+p.valid),
		lastAccepted("Connection: close", with("Connection: close\r\n")+p.valid),
		{Name: "nothing", Cut: HalfClose},
		{Name: "a reset", Cut: Reset},
		{Name: "half a header", Send: p.head, Cut: HalfClose, Answers: []int{400}},
		{Name: "half a header, reset", Send: p.head, Cut: Reset},
	}
}
