package lumin

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// FileType is one of the files that Lumin has of a signature request.
type FileType string

// The file types of Lumin's documentation. The last two need a signature request
// that is APPROVED, and whose certificate has been made.
const (
	FileAgreement FileType = "agreement" // the signed document
	FileCoC       FileType = "coc"       // the Certificate of Completion
	FileMerged    FileType = "merged"    // both in one
)

// Documented reports whether t is one of Lumin's file types. Case matters.
func (t FileType) Documented() bool {
	return t == FileAgreement || t == FileCoC || t == FileMerged
}

// MaxFileSize is the size of the largest file that [Client.File] takes, in bytes:
// 256 MiB. Lumin documents no limit.
const MaxFileSize = 256 << 20

// ErrFileTooLarge is the error for a file of more than [MaxFileSize] bytes.
var ErrFileTooLarge = errors.New("the file is larger than 256 MiB")

var (
	errNotPDF      = errors.New("what came is not a PDF")
	errEmptyFile   = errors.New("the file is empty")
	errNoLink      = errors.New("the answer is neither a PDF nor a link to one")
	errLinkScheme  = errors.New("the signed link is not https")
	errLinkExpired = errors.New("the signed link had expired when it came")
)

// fileTimeout bounds a download, from the question to the last byte.
const fileTimeout = 10 * time.Minute

// File is a file that is being downloaded.
type File struct {
	// Body is the file. Reading it ends with io.EOF only where the file ends: if the
	// connection is lost before, the error is [io.ErrUnexpectedEOF], and if there is
	// too much of it, [ErrFileTooLarge]; both may be wrapped. Close it.
	Body io.ReadCloser

	// Size is the number of bytes, or -1 if Lumin does not tell.
	Size int64
}

// File downloads a file of a signature request. The caller closes its Body. It takes
// at most ten minutes, from the call to the last byte read.
//
// Lumin answers with the file, or with a signed link to it, which lives 30 minutes.
// Both give the same result: the link is fetched without the credential, and
// requested once more if it has expired or its host refuses it. Lumin is asked
// for the link, and if it has none to give (406), for the file. Anything that does not
// begin like a PDF is an error.
//
// [ErrInvalidID] if the id fits no path, an [*APIError] for an answer other than
// 200. Of file types other than the agreement, a 4xx may only mean that the certificate
// does not exist yet.
func (c *Client) File(ctx context.Context, id string, t FileType) (*File, error) {
	if !t.Documented() {
		return nil, errors.New("fetch a file from Lumin: its type is not agreement, coc or merged")
	}
	path, err := requestPath(id)
	if err != nil {
		return nil, fmt.Errorf("fetch the %s from Lumin: %w", t, err)
	}
	ctx, cancel := context.WithTimeout(ctx, fileTimeout)
	file, err := c.open(ctx, cancel, path+"/file?type="+string(t))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("fetch the %s from Lumin: %w", t, err)
	}
	return file, nil
}

func (c *Client) open(ctx context.Context, cancel context.CancelFunc, path string) (*File, error) {
	resp, err := c.download(ctx, path)
	if isSpent(err) {
		resp, err = c.download(ctx, path)
	}
	if err != nil {
		return nil, err
	}
	file, err := c.newFile(ctx, cancel, resp)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return file, nil
}

// isSpent reports whether err says that a link is no longer good, so that another one
// may be. Hosts of links differ in the status by which they say so.
func isSpent(err error) bool {
	var refused *APIError
	if errors.As(err, &refused) {
		return refused.Link && refused.StatusCode >= 400 && !refused.Temporary()
	}
	return errors.Is(err, errLinkExpired)
}

// download asks for a file, and follows the link if that is the answer.
func (c *Client) download(ctx context.Context, path string) (*http.Response, error) {
	resp, err := c.askForFile(ctx, path)
	if err != nil {
		return nil, err
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType == pdfType {
		return resp, nil
	}
	defer resp.Body.Close()
	if mediaType != jsonType {
		return nil, errNoLink
	}
	link, err := c.readLink(ctx, resp)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, errNoLink // err quotes it
	}
	return c.send(req, true)
}

const (
	jsonType = "application/json"
	pdfType  = "application/pdf"
)

// askForFile requests a file in one form, and in the other if Lumin refuses that
// one. The live service answers 406 to an Accept that lists both.
func (c *Client) askForFile(ctx context.Context, path string) (*http.Response, error) {
	resp, err := c.ask(ctx, path, jsonType)
	var refused *APIError
	if errors.As(err, &refused) && refused.StatusCode == http.StatusNotAcceptable {
		return c.ask(ctx, path, pdfType)
	}
	return resp, err
}

// readLink returns the signed link of an answer. Its expiry is compared with the
// clock that set it.
func (c *Client) readLink(ctx context.Context, resp *http.Response) (string, error) {
	body, err := readJSON(ctx, resp)
	if err != nil {
		return "", err
	}
	var answer struct {
		SignedURL   string          `json:"signed_url"`   // as documented
		DownloadURL string          `json:"download_url"` // as the live service answers
		ExpiresAt   json.RawMessage `json:"expires_at"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", errNoLink
	}
	address := cmp.Or(answer.SignedURL, answer.DownloadURL)
	link, err := url.Parse(address)
	switch {
	case err != nil || link.Host == "":
		return "", errNoLink
	case link.Scheme != "https" && (link.Scheme != "http" || !c.loopback || !isLoopback(link.Hostname())):
		return "", errLinkScheme
	}
	if at, ok := linkExpiry(answer.ExpiresAt); ok && !at.After(c.dateOf(resp)) {
		return "", errLinkExpired
	}
	return address, nil
}

// linkExpiry reads expires_at: Unix time in seconds as documented, or in
// milliseconds as the live service answers, as a number or a string. An expiry in
// another form is ignored, because the host of the link checks it anyway.
func linkExpiry(value []byte) (at time.Time, ok bool) {
	const leastMillis = 100_000_000_000 // March 1973; in seconds, the year 5138
	number, err := strconv.ParseInt(strings.Trim(string(value), `"`), 10, 64)
	switch {
	case err != nil || number <= 0:
		return time.Time{}, false
	case number >= leastMillis:
		return time.UnixMilli(number), true
	}
	return time.Unix(number, 0), true
}

// newFile looks at the beginning of a file.
func (c *Client) newFile(ctx context.Context, cancel context.CancelFunc, resp *http.Response) (*File, error) {
	const magic = "%PDF-" // ISO 32000-2, section 7.5.2
	if resp.ContentLength > c.maxFile {
		return nil, ErrFileTooLarge
	}
	body := &fileBody{
		ctx: ctx, cancel: cancel, body: resp.Body, buffer: bufio.NewReader(resp.Body), left: c.maxFile,
		untold: resp.ProtoMajor == 1 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0,
	}
	head, err := body.buffer.Peek(len(magic))
	switch {
	case err != nil && err != io.EOF:
		return nil, brokenOff(ctx)
	case len(head) == 0:
		return nil, errEmptyFile
	case string(head) != magic:
		return nil, errNotPDF
	}
	return &File{Body: body, Size: resp.ContentLength}, nil
}

// fileBody reads a file up to its end, which it makes sure of.
type fileBody struct {
	ctx    context.Context
	cancel context.CancelFunc
	body   io.Closer
	buffer *bufio.Reader
	left   int64 // bytes that there may still be
	untold bool  // nothing tells the end of the file from that of the connection
	tail   []byte
	err    error
}

// Read implements io.Reader.
func (b *fileBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.buffer.Read(p)
	if b.left -= int64(n); b.left < 0 {
		n, err = 0, ErrFileTooLarge
	}
	if b.untold {
		b.keepTail(p[:n])
	}
	switch {
	case err == nil, errors.Is(err, ErrFileTooLarge):
		b.err = err
	case err == io.EOF && (!b.untold || bytes.Contains(b.tail, []byte("%%EOF"))):
		b.err = io.EOF
	default:
		b.err = brokenOff(b.ctx)
	}
	return n, b.err
}

// keepTail keeps the last bytes of a file. The end of a PDF is marked within its last
// 1024 bytes, where readers look for it.
func (b *fileBody) keepTail(p []byte) {
	const length = 1024
	b.tail = append(b.tail, p[max(0, len(p)-length):]...)
	b.tail = append(b.tail[:0], b.tail[max(0, len(b.tail)-length):]...)
}

// Close implements io.Closer.
func (b *fileBody) Close() error {
	b.cancel()
	return b.body.Close()
}
