package hostile

import (
	"fmt"
	"slices"
	"strings"
)

// Case is what one connection sends, and what must come back.
type Case struct {
	Name string
	Send string

	// Cut is how the caller ends its side after Send.
	Cut Cut

	// Answers are the statuses of all answers, in order.
	Answers []int

	// Recorded is how many deliveries are verified and recorded.
	Recorded int

	// Open means that the connection stays open, and that the next request on
	// it is answered correctly. Otherwise it must be closed.
	Open bool
}

// Cut is how a caller ends its side of a connection.
type Cut int

// What a caller does after it has sent everything.
const (
	Wait      Cut = iota // for the answers
	HalfClose            // close the sending direction, and wait
	Close
	Reset // close with RST
)

// Requests returns all cases. body must be a valid delivery to
// /webhooks/account, and signature its X-Signature.
func Requests(body, signature string) []Case {
	p := parts(body, signature)
	return slices.Concat(p.lengths(), p.codings(), p.chunked(), p.headers(), p.requestLines(), p.connections())
}

// delivery has the parts of a valid delivery.
type delivery struct {
	body   string
	head   string // request line, Host and X-Signature
	length string // header line
	valid  string // the whole request
	chunks string // the body as chunks, to the end
}

func parts(body, signature string) delivery {
	p := delivery{
		body: body, chunks: fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body),
		head:   "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nX-Signature: " + signature + "\r\n",
		length: fmt.Sprintf("Content-Length: %d\r\n", len(body)),
	}
	p.valid = p.head + p.length + "\r\n" + p.body
	return p
}

func accepted(name, send string) Case {
	return Case{Name: name, Send: send, Answers: []int{200}, Recorded: 1, Open: true}
}

func lastAccepted(name, send string) Case {
	return Case{Name: name, Send: send, Answers: []int{200}, Recorded: 1}
}

func refused(name, send string, status int) Case {
	return Case{Name: name, Send: send, Answers: []int{status}}
}

// lengths are requests with an unusual Content-Length. Most are followed by a
// valid delivery that must not be taken for a second request.
func (p delivery) lengths() []Case {
	with := func(lines string) string { return p.head + lines + "\r\n" + p.body }
	n := len(p.body)
	return []Case{
		accepted("one Content-Length", with(p.length)),
		accepted("the same Content-Length twice", with(p.length+p.length)),
		accepted("Content-Length with zeros in front", with(fmt.Sprintf("Content-Length: 000%d\r\n", n))),
		accepted("Content-Length between tabs", with(fmt.Sprintf("Content-Length:\t%d\t\r\n", n))),
		refused("two values of Content-Length", with(p.length+"Content-Length: 0\r\n")+p.valid, 400),
		refused("Content-Length as a list", with(fmt.Sprintf("Content-Length: %d, %d\r\n", n, n))+p.valid, 400),
		refused("Content-Length with a sign", with(fmt.Sprintf("Content-Length: +%d\r\n", n))+p.valid, 400),
		refused("a negative Content-Length", with("Content-Length: -1\r\n")+p.valid, 400),
		refused("a hexadecimal Content-Length", with(fmt.Sprintf("Content-Length: 0x%x\r\n", n))+p.valid, 400),
		refused("an empty Content-Length", with("Content-Length:\r\n")+p.valid, 400),
		refused("Content-Length above 63 bits", with("Content-Length: 9223372036854775808\r\n")+p.valid, 400),
		refused("Content-Length with 1,000 digits", with("Content-Length: "+strings.Repeat("9", 1000)+"\r\n")+p.valid, 400),
		refused("Content-Length with a NUL", with(fmt.Sprintf("Content-Length: %d\x00\r\n", n))+p.valid, 400),
		refused("a space before the colon of Content-Length", with(fmt.Sprintf("Content-Length : %d\r\n", n))+p.valid, 400),
		refused("far too much announced", with("Content-Length: 1099511627776\r\n"), 413),
		{Name: "no Content-Length", Send: p.head + "\r\n" + p.body + "\r\n\r\n", Answers: []int{401, 400}},
		{Name: "more than announced", Send: p.valid + "extra\r\n\r\n", Answers: []int{200, 400}, Recorded: 1},
		{Name: "less than announced", Send: p.valid[:len(p.valid)-1], Cut: HalfClose, Answers: []int{400}},
		{Name: "less than announced, closed", Send: p.valid[:len(p.valid)-1], Cut: Close},
		{Name: "less than announced, reset", Send: p.valid[:len(p.valid)-1], Cut: Reset},
	}
}

// codings are requests with a Transfer-Encoding that servers read differently.
// After each, the connection must be closed.
func (p delivery) codings() []Case {
	const chunked = "Transfer-Encoding: chunked\r\n"
	with := func(lines string) string { return p.head + lines + "\r\n" + p.chunks + p.valid }
	old := strings.Replace(p.head, "HTTP/1.1", "HTTP/1.0", 1) + "Connection: keep-alive\r\n"
	return []Case{
		lastAccepted("chunked, then another request", with(chunked)),
		lastAccepted("chunked in capitals", with("Transfer-Encoding: CHUNKED\r\n")),
		lastAccepted("Content-Length and chunked", with(p.length+chunked)),
		lastAccepted("chunked and Content-Length", with(chunked+p.length)),
		refused("a delivery behind the last chunk",
			p.head+fmt.Sprintf("Content-Length: %d\r\n", len("0\r\n\r\n"+p.valid))+chunked+"\r\n0\r\n\r\n"+p.valid, 401),
		refused("an unknown coding", with("Transfer-Encoding: xchunked\r\n"), 501),
		refused("chunked and another coding", with("Transfer-Encoding: chunked, identity\r\n"), 501),
		refused("another coding and chunked", with("Transfer-Encoding: gzip, chunked\r\n"), 501),
		refused("chunked twice", with(chunked+chunked), 501),
		refused("chunked in quotes", with("Transfer-Encoding: \"chunked\"\r\n"), 501),
		refused("chunked behind a vertical tab", with("Transfer-Encoding: \vchunked\r\n"), 400),
		refused("a space before the colon of Transfer-Encoding", with("Transfer-Encoding : chunked\r\n"), 400),
		refused("an empty coding", with(p.length+"Transfer-Encoding:\r\n"), 501),
		lastAccepted("chunked on a continued line", with("Transfer-Encoding:\r\n chunked\r\n")),
		refused("chunked in HTTP/1.0", old+chunked+"\r\n"+p.chunks+p.valid, 401),
		lastAccepted("chunked in HTTP/1.0 with Content-Length", old+p.length+chunked+"\r\n"+p.body+p.valid),
	}
}

// chunked are chunked bodies that are unusual, malformed or cut off.
func (p delivery) chunked() []Case {
	with := func(body string) string { return p.head + "Transfer-Encoding: chunked\r\n\r\n" + body }
	n := len(p.body)
	one := fmt.Sprintf("%x\r\n%s\r\n", n, p.body)
	var single strings.Builder
	for i := range n {
		fmt.Fprintf(&single, "1\r\n%c\r\n", p.body[i])
	}
	unsigned := strings.Replace(p.head, "X-Signature", "X-Other", 1) + "Transfer-Encoding: chunked\r\nTrailer: X-Signature\r\n\r\n"
	_, signature, _ := strings.Cut(p.head, "X-Signature: ")
	return []Case{
		lastAccepted("chunks of one byte", with(single.String()+"0\r\n\r\n")),
		lastAccepted("chunk extensions", with(fmt.Sprintf("%x;a=b;c=\"d\"\r\n%s\r\n0;e\r\n\r\n", n, p.body))),
		lastAccepted("trailers", with(one+"0\r\nX-Trailer: 1\r\nContent-Length: 1\r\n\r\n")),
		refused("the signature in a trailer", unsigned+one+"0\r\nX-Signature: "+signature+"\r\n", 401),
		refused("a long chunk extension", with(fmt.Sprintf("%x;%s\r\n%s\r\n0\r\n\r\n", n, strings.Repeat("x", 8<<10), p.body)), 400),
		refused("a chunk size with a sign", with(fmt.Sprintf("+%x\r\n%s\r\n0\r\n\r\n", n, p.body)), 400),
		refused("a chunk size with a prefix", with(fmt.Sprintf("0x%x\r\n%s\r\n0\r\n\r\n", n, p.body)), 400),
		refused("a chunk size above 64 bits", with("10000000000000000\r\n"+p.body+"\r\n0\r\n\r\n"), 400),
		refused("an empty chunk size", with("\r\n"+p.body+"\r\n0\r\n\r\n"), 400),
		refused("a chunk size that is none", with("xyz\r\n"+p.body+"\r\n0\r\n\r\n"), 400),
		refused("bare line feeds between chunks", with(fmt.Sprintf("%x\n%s\n0\n\n", n, p.body)), 400),
		refused("a chunk without its line end", with(fmt.Sprintf("%x\r\n%s0\r\n\r\n", n, p.body)), 400),
		refused("a chunk longer than its size", with(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n-1, p.body)), 400),
		{Name: "a chunk cut off", Send: with(fmt.Sprintf("%x\r\n%s", n, p.body[:100])), Cut: HalfClose, Answers: []int{400}},
		{Name: "no last chunk", Send: with(one), Cut: HalfClose, Answers: []int{400}},
		{Name: "no end after the last chunk", Send: with(one + "0\r\n"), Cut: HalfClose, Answers: []int{400}},
		{Name: "a chunk cut off by a reset", Send: with(fmt.Sprintf("%x\r\n%s", n, p.body[:100])), Cut: Reset},
	}
}

// Endless is a request that never ends.
type Endless struct {
	Name   string
	Start  string
	Again  string // is sent again and again after Start
	Answer int
}

// EndlessRequests returns requests that a server must refuse while they are
// being sent.
func EndlessRequests(signature string) []Endless {
	head := parts("", signature).head
	chunked := head + "Transfer-Encoding: chunked\r\n\r\n"
	some := strings.Repeat("x", 1<<10)
	return []Endless{
		{"chunks", chunked, "400\r\n" + some + "\r\n", 413},
		{"chunks of one byte", chunked, "1\r\nx\r\n", 413},
		{"one chunk", chunked + "7fffffffffffffff\r\n", some, 413},
		{"one chunk extension", chunked + "1;", some, 400},
		{"one chunk size", chunked, strings.Repeat("0", 1<<10), 400},
		{"trailers", chunked + "0\r\n", "X: x\r\n", 400},
		{"a body that is too large", head + "Content-Length: 9223372036854775807\r\n\r\n", some, 413},
		{"a gzip bomb", head + "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", "400\r\n" + some + "\r\n", 415},
		{"header lines", head, "X: x\r\n", 431},
		{"continued lines", head + "X: x\r\n", " x\r\n", 431},
		{"one header line", head + "X: ", some, 431},
		{"the path", "POST /", some, 431},
		{"line ends", "", "\r\n", 400},
	}
}
