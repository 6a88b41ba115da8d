package archivecontract

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"lumin-ingest/internal/redact"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// write copies a file to the bucket. Closing the writer creates the object,
// unless its context has ended by then.
func (a JobType) write(ctx context.Context, key string, file io.Reader) error {
	writing, abort := context.WithCancel(ctx)
	defer abort()
	w, err := a.Bucket.NewWriter(writing, key, &blob.WriterOptions{ContentType: "application/pdf", BeforeWrite: private})
	if err != nil {
		return bucketError(ctx, err)
	}
	if _, err := io.Copy(w, file); err != nil {
		abort()
		_ = w.Close() // reports only that the context ended
		return bucketError(ctx, err)
	}
	if err := w.Close(); err != nil {
		return bucketError(ctx, err)
	}
	return nil
}

// private makes a file readable only by the user that runs the program, if the
// bucket is a directory. The driver would leave the mode to the umask.
func private(as func(any) bool) error {
	var file *os.File
	if !as(&file) {
		return nil
	}
	return file.Chmod(0o600)
}

// bucketError removes the URLs that drivers put into errors. It does not wrap
// err, but it wraps the error of an ended context.
func bucketError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("the bucket did not answer in time: %w", ctx.Err())
	}
	return errors.New("the bucket refused: " + redact.Text(err.Error()))
}

// objectKey returns the key of a file in the bucket.
func objectKey(e *worker.Event, t lumin.FileType) string {
	return folder(e.SignatureRequestID) + "/" + string(t) + "-" + e.IdempotencyKey() + ".pdf"
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// folder returns a path segment for an id: the id, or its hash if it is not
// safe.
func folder(id string) string {
	if plainID.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// bucketName returns the name of a bucket in lumin.archived_files: its URL
// without anything that does not identify it, such as credentials and regions.
func bucketName(bucketURL string) string {
	u, err := url.Parse(bucketURL)
	if err != nil {
		return "unknown" // err quotes the URL, which may contain credentials
	}
	name := u.Scheme + "://" + u.Host + strings.TrimRight(u.Path, "/")
	if prefix := u.Query().Get("prefix"); prefix != "" {
		name += "/" + prefix
	}
	if endpoint, err := url.Parse(u.Query().Get("endpoint")); err == nil && endpoint.Host != "" {
		name += "?endpoint=" + endpoint.Scheme + "://" + endpoint.Host
	}
	return name
}

// remove removes an object and the remains of attempts that crashed. A bucket
// that is a directory keeps such remains beside the object, under a longer
// name. An object that is missing counts as removed if the bucket itself is
// accessible.
func (a JobType) remove(ctx context.Context, key string) error {
	keys := []string{key}
	for list := a.Bucket.List(&blob.ListOptions{Prefix: key + "."}); ; {
		object, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bucketError(ctx, err)
		}
		keys = append(keys, object.Key)
	}
	for _, key := range keys {
		err := a.Bucket.Delete(ctx, key)
		if err != nil && gcerrors.Code(err) == gcerrors.NotFound {
			if there, lookErr := a.Bucket.IsAccessible(ctx); there || lookErr != nil {
				err = nil
			}
		}
		if err != nil {
			return bucketError(ctx, err)
		}
	}
	return nil
}
