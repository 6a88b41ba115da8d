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

// FileType names one of the files that Lumin offers for a signature request.
type FileType string

// The file types in Lumin's documentation. FileCoC and FileMerged exist only
// once the signature request is APPROVED and Lumin has created its certificate.
const (
	FileAgreement FileType = "agreement" // the signed document
	FileCoC       FileType = "coc"       // the Certificate of Completion
	FileMerged    FileType = "merged"    // both in one file
)

// Documented reports whether t is one of Lumin's file types. Case matters.
func (t FileType) Documented() bool {
	return t == FileAgreement || t == FileCoC || t == FileMerged
}

// MaxFileSize is the largest file that [Client.File] accepts: 256 MiB, in
// bytes. Lumin documents no limit.
const MaxFileSize = 256 << 20

// ErrFileTooLarge is the error for a file of more than [MaxFileSize] bytes.
var ErrFileTooLarge = errors.New("the file is larger than 256 MiB")

var (
	errNotPDF      = errors.New("the file is not a PDF")
	errEmptyFile   = errors.New("the file is empty")
	errNoLink      = errors.New("the response is neither a PDF nor a link to one")
	errLinkScheme  = errors.New("the signed link is not https")
	errLinkExpired = errors.New("the signed link had already expired on arrival")
)

// fileTimeout limits a download, from the first request to the last byte.
const fileTimeout = 10 * time.Minute

// File is a file that is being downloaded.
type File struct {
	// Body is the content. Read returns io.EOF only at the end of a complete
	// file. If the connection is lost earlier, the error is
	// [io.ErrUnexpectedEOF]. If the file is too large, the error is
	// [ErrFileTooLarge]. Both may be wrapped. The caller closes Body.
	Body io.ReadCloser

	// Size is the number of bytes, or -1 if the response does not state it.
	Size int64
}

// File downloads a file of a signature request. The caller closes its Body. The
// download may take ten minutes, from the call to the last byte read.
//
// Lumin offers either the file or a signed link to it, which is valid for 30
// minutes. File requests the link first. If Lumin refuses that with 406, File
// requests the file itself. Both ways give the same result. A link is fetched
// without the credential. If it has expired or its host refuses it, File
// requests a new link once. Content that does not begin like a PDF is an error.
//
// The error is [ErrInvalidID] if no path can hold the id. It is an [*APIError]
// for a response other than 200. For types other than the agreement, a 4xx may
// only mean that the certificate does not exist yet.
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

// HasFile reports whether Lumin offers a file of a signature request now: as a
// PDF, or by a link. It downloads nothing, and discards the link. Like File, it
// requests the link first, and the file itself after a 406. It calls pace before
// that second request, which can delay it; an error of pace ends the call. Each
// request takes at most 30 seconds.
//
// A permanent 4xx means that there is no such file, or not yet. The error is
// [ErrInvalidID] if no path can hold the id. It is an [*APIError] if the
// credential is refused, or if the same request may succeed later.
func (c *Client) HasFile(ctx context.Context, id string, t FileType, pace func(context.Context) error) (bool, error) {
	path, err := requestPath(id)
	if err == nil {
		path += "/file?type=" + string(t)
		if err = c.offers(ctx, path, jsonType); isNotAcceptable(err) {
			if err = pace(ctx); err == nil {
				err = c.offers(ctx, path, pdfType)
			}
		}
	}
	var refused *APIError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &refused) && refused.StatusCode >= 400 && !refused.Temporary() &&
		refused.StatusCode != http.StatusUnauthorized && refused.StatusCode != http.StatusForbidden:
		return false, nil
	}
	return false, fmt.Errorf("ask Lumin for the %s: %w", t, err)
}

// offers returns nil if the answer to a request for a file is a PDF, or has a link
// to one. A link that has expired shows that there is a file.
func (c *Client) offers(ctx context.Context, path, accept string) error {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	resp, err := c.get(ctx, path, accept)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType {
	case pdfType:
		return nil
	case jsonType:
		if _, err = c.readLink(ctx, resp); !errors.Is(err, errLinkExpired) {
			return err
		}
		return nil
	default:
		return errNoLink
	}
}

// isNotAcceptable reports whether err is an answer 406.
func isNotAcceptable(err error) bool {
	var refused *APIError
	return errors.As(err, &refused) && refused.StatusCode == http.StatusNotAcceptable
}

func (c *Client) open(ctx context.Context, cancel context.CancelFunc, path string) (*File, error) {
	resp, err := c.download(ctx, path)
	if isLinkRejected(err) {
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

// isLinkRejected reports whether err means that a link is no longer valid and a
// new link may work. Link hosts use different statuses for this, so any
// permanent 4xx counts.
func isLinkRejected(err error) bool {
	var refused *APIError
	if errors.As(err, &refused) {
		return refused.Link && refused.StatusCode >= 400 && !refused.Temporary()
	}
	return errors.Is(err, errLinkExpired)
}

// download requests a file and follows the link if Lumin returns one.
func (c *Client) download(ctx context.Context, path string) (*http.Response, error) {
	resp, err := c.requestFile(ctx, path)
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
		return nil, errNoLink // err quotes the link
	}
	return c.send(req, true)
}

const (
	jsonType = "application/json"
	pdfType  = "application/pdf"
)

// requestFile requests the link as JSON, and the PDF if Lumin refuses JSON with
// 406. It sends two requests because the live service answers 406 to an Accept
// header that lists both types.
func (c *Client) requestFile(ctx context.Context, path string) (*http.Response, error) {
	resp, err := c.get(ctx, path, jsonType)
	if isNotAcceptable(err) {
		return c.get(ctx, path, pdfType)
	}
	return resp, err
}

// readLink returns the signed link in a response. It compares the link's expiry
// with the response's Date, because both come from Lumin's clock.
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

// linkExpiry parses expires_at, a Unix time as a number or a string. Lumin
// documents seconds, but the live service sends milliseconds. An expiry in
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

// newFile checks the size and the first bytes of a file.
func (c *Client) newFile(ctx context.Context, cancel context.CancelFunc, resp *http.Response) (*File, error) {
	const magic = "%PDF-" // ISO 32000-2, section 7.5.2
	if resp.ContentLength > c.maxFile {
		return nil, ErrFileTooLarge
	}
	body := &fileBody{
		ctx: ctx, cancel: cancel, body: resp.Body, buffer: bufio.NewReader(resp.Body), left: c.maxFile,
		unbounded: resp.ProtoMajor == 1 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0,
	}
	head, err := body.buffer.Peek(len(magic))
	switch {
	case err != nil && err != io.EOF:
		return nil, truncatedError(ctx)
	case len(head) == 0:
		return nil, errEmptyFile
	case string(head) != magic:
		return nil, errNotPDF
	}
	return &File{Body: body, Size: resp.ContentLength}, nil
}

// fileBody reads a file and checks that it is complete.
type fileBody struct {
	ctx       context.Context
	cancel    context.CancelFunc
	body      io.Closer
	buffer    *bufio.Reader
	left      int64 // bytes until the size limit
	unbounded bool  // the response ends with the connection, so a loss looks like its end
	tail      []byte
	err       error
}

// Read returns io.EOF only at the end of a complete file.
func (b *fileBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.buffer.Read(p)
	if b.left -= int64(n); b.left < 0 {
		n, err = 0, ErrFileTooLarge
	}
	if b.unbounded {
		b.keepTail(p[:n])
	}
	switch {
	case err == nil, errors.Is(err, ErrFileTooLarge):
		b.err = err
	case err == io.EOF && (!b.unbounded || bytes.Contains(b.tail, []byte("%%EOF"))):
		b.err = io.EOF
	default:
		b.err = truncatedError(b.ctx)
	}
	return n, b.err
}

// keepTail keeps the last 1024 bytes of a file. A PDF has its end marker within
// those bytes, where PDF readers look for it.
func (b *fileBody) keepTail(p []byte) {
	const length = 1024
	b.tail = append(b.tail, p[max(0, len(p)-length):]...)
	b.tail = append(b.tail[:0], b.tail[max(0, len(b.tail)-length):]...)
}

// Close ends the download, complete or not.
func (b *fileBody) Close() error {
	b.cancel()
	return b.body.Close()
}
