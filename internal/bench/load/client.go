package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"

	"lumin-ingest/lumin"
)

// answerTimeout is Lumin's.
const answerTimeout = 30 * time.Second

// client is one keep-alive connection. It understands as much of HTTP as the
// measured programs answer.
type client struct {
	host, head, secret string
	conn               net.Conn
	answers            *bufio.Reader
	request            []byte
}

func newClient(address, secret string) (*client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("the address of the webhook: %w", err)
	}
	head := "POST " + u.Path + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: Lumin Sign API\r\nContent-Type: application/json\r\n"
	return &client{host: u.Host, head: head, secret: secret}, nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// post sends a body and returns the status of the answer. After an error, the
// next call makes a new connection.
func (c *client) post(body []byte) (status int, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.host, answerTimeout); err != nil {
			return 0, err
		}
		c.answers = bufio.NewReader(c.conn)
	}
	c.request = append(c.request[:0], c.head...)
	c.request = append(c.request, lumin.SignatureHeader+": "+lumin.Sign(body, c.secret)+"\r\nContent-Length: "...)
	c.request = strconv.AppendInt(c.request, int64(len(body)), 10)
	c.request = append(c.request, "\r\n\r\n"...)
	c.request = append(c.request, body...)
	if err := c.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return 0, err
	}
	return c.answer()
}

// answer reads one answer.
func (c *client) answer() (status int, err error) {
	line, err := c.answers.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return 0, errors.New("the answer is not HTTP")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, errors.New("the answer has no status")
	}
	length, closes := -1, false
	for {
		if line, err = c.answers.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, errors.New("the answer has no valid length")
			}
		case bytes.EqualFold(name, []byte("Connection")):
			closes = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		return 0, errors.New("the answer has no length")
	}
	if _, err := io.CopyN(io.Discard, c.answers, int64(length)); err != nil {
		return 0, err
	}
	if closes {
		c.close()
	}
	return status, nil
}
