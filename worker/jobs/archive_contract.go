package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"lumin-ingest/internal/redact"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/archive"
	"lumin-ingest/worker"
)

// ArchiveContract stores the files of a signature request in a bucket once
// Lumin reports that they can be downloaded. Each file gets a row in
// lumin.archived_files.
//
// The object key is {signature_request_id}/{file type}-{idempotency key}.pdf.
// The idempotency key is [store.Event.IdempotencyKey], so every attempt writes
// the same object. A signature request id that is not 1 to 128 letters, digits,
// _ and - is replaced by its SHA-256 in hexadecimal. If the bucket is a
// directory, only the user that runs the program can read the files.
//
// A file is first downloaded completely, to a temporary file without a name,
// and then written to the bucket. Its row is inserted before the object is
// written, so an erasure always finds it. The row gets its archived_at once the
// bucket has the file. From then on the file is not downloaded again: only a
// replay of a succeeded run archives it anew.
//
// An upload to S3 of more than 16 MiB that is interrupted may leave parts that
// no listing shows. Give the bucket a lifecycle rule that aborts incomplete
// multipart uploads.
//
// Lumin's responses decide the outcome of the run, after every file was tried:
//
//   - 429 and 503: the job is snoozed, which uses no attempt. It waits for
//     Retry-After, from a second to an hour, or for a minute without that
//     header. A day after the event was received, these statuses count like
//     5xx.
//   - 409, because the signature request is not approved yet: likewise, but
//     without Retry-After it waits a tenth of the event's age, from a minute to
//     an hour.
//   - 400, 404, 405, 410, 414, 422 and 451, for the agreement: the run fails
//     immediately and can be replayed. For other files, these statuses may only
//     mean that Lumin has not created the certificate yet, so they are retried.
//   - Any file larger than [lumin.MaxFileSize], or an id that fits no path: the
//     run fails immediately.
//   - Everything else is retried after Backoff. This includes 401 and 403,
//     which an operator fixes with another key, every error of the bucket, and
//     every status of the signed link other than 429 and 503.
//
// All fields except Files must be set.
type ArchiveContract struct {
	worker.Defaults

	Lumin  *lumin.Client
	Bucket *blob.Bucket // closed by the caller
	DB     *pgxpool.Pool

	// BucketURL is the URL that Bucket was opened with. Rows store it without
	// credentials and query, except that a prefix in the query becomes part of
	// the path, and an endpoint stays as scheme and host. EraseArchived finds
	// the files of this bucket by this name.
	BucketURL string

	// Files lists the file types to archive. Empty means the agreement.
	Files []lumin.FileType
}

// Kind implements worker.JobType.
func (ArchiveContract) Kind() string { return "archive_contract" }

// Events implements worker.JobType.
func (ArchiveContract) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestDownloadable}
}

// Queue returns archive, so that downloads do not delay other jobs.
func (ArchiveContract) Queue() string { return "archive" }

// Timeout returns two minutes, the limit for downloading and storing all files.
func (ArchiveContract) Timeout() time.Duration { return 2 * time.Minute }

// Work implements worker.Plain.
func (a ArchiveContract) Work(ctx context.Context, e *store.Event) error {
	files := a.Files
	if len(files) == 0 {
		files = []lumin.FileType{lumin.FileAgreement}
	}
	var setbacks []setback
	for _, t := range files {
		if err := a.archive(ctx, e, t); err != nil {
			setbacks = append(setbacks, setbackOf(e, t, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return runError(setbacks)
}

// archive archives one file, unless it is already archived.
func (a ArchiveContract) archive(ctx context.Context, e *store.Event, t lumin.FileType) error {
	archived, err := archive.Has(ctx, a.DB, e.Key, t, e.Rerun)
	if err != nil || archived {
		return err
	}
	file, err := a.download(ctx, e.SignatureRequestID, t)
	if err != nil {
		return err
	}
	defer file.Close()
	row := archive.File{
		EventKey: e.Key, FileType: t, Rerun: e.Rerun, SignatureRequestID: e.SignatureRequestID,
		Bucket: bucketName(a.BucketURL), ObjectKey: objectKey(e, t), SHA256: file.sum, Size: file.size,
	}
	return a.keep(ctx, row, file)
}

// keep writes a file to the bucket under a lock on its row. Another attempt may
// be running at the same time, and Lumin may generate different bytes for each
// download. If both wrote the object, the row could have the hash of the other
// one.
func (a ArchiveContract) keep(ctx context.Context, row archive.File, file io.Reader) error {
	conn, err := a.DB.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("get a connection: %w", err)
	}
	defer conn.Release()
	locked, err := archive.Lock(ctx, conn, row)
	if err != nil {
		return err
	}
	if !locked {
		return errors.New("another attempt is writing the " + string(row.FileType))
	}
	defer func() {
		unlocking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if archive.Unlock(unlocking, conn, row) != nil {
			_ = conn.Conn().Close(unlocking) // closing the connection releases the lock
		}
	}()
	archived, err := archive.Has(ctx, conn, row.EventKey, row.FileType, row.Rerun)
	if err != nil || archived { // by the attempt that held the lock before
		return err
	}
	if err := archive.Begin(ctx, conn, row); err != nil {
		return err
	}
	if err := a.write(ctx, row.ObjectKey, file); err != nil {
		return fmt.Errorf("archive the %s: %w", row.FileType, err)
	}
	err = archive.Finish(ctx, conn, row)
	if errors.Is(err, store.ErrNotFound) { // an erasure removed the row during the write
		return errors.Join(err, a.remove(ctx, row.ObjectKey))
	}
	return err
}

// downloaded is a complete file from Lumin. It is on disk until it is closed.
type downloaded struct {
	*os.File
	sum  [32]byte
	size int64
}

// download fetches a file from Lumin to disk. It does not stream to the bucket,
// because a bucket that stores large objects in parts may keep the parts of an
// interrupted upload.
func (a ArchiveContract) download(ctx context.Context, id string, t lumin.FileType) (*downloaded, error) {
	file, err := a.Lumin.File(ctx, id, t)
	if err != nil {
		return nil, err
	}
	defer file.Body.Close()
	disk, err := os.CreateTemp("", "lumin-ingest-*.pdf")
	if err != nil {
		return nil, fmt.Errorf("download the %s: %w", t, err)
	}
	_ = os.Remove(disk.Name()) // the data exists until the file is closed, and survives no crash
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(disk, hash), file.Body)
	if err == nil {
		_, err = disk.Seek(0, io.SeekStart)
	}
	if err != nil {
		disk.Close()
		return nil, fmt.Errorf("download the %s: %w", t, err)
	}
	return &downloaded{File: disk, sum: [32]byte(hash.Sum(nil)), size: size}, nil
}

// write copies a file to the bucket. Closing the writer creates the object,
// unless its context has ended by then.
func (a ArchiveContract) write(ctx context.Context, key string, file io.Reader) error {
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
func objectKey(e *store.Event, t lumin.FileType) string {
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

// setback is the error of a file that was not archived, with its consequence.
type setback struct {
	err   error
	fate  fate
	delay time.Duration // of fateSnooze
}

// fate is the consequence of an error for the run. If several files failed, the
// lowest value decides.
type fate int

const (
	fateRetry fate = iota
	fateSnooze
	fateFail
)

// setbackOf decides the consequence of an error.
func setbackOf(e *store.Event, t lumin.FileType, err error) setback {
	var answer *lumin.APIError
	switch {
	case errors.Is(err, lumin.ErrInvalidID), errors.Is(err, lumin.ErrFileTooLarge):
		return setback{err: err, fate: fateFail}
	case !errors.As(err, &answer):
		return setback{err: err}
	case answer.StatusCode == http.StatusConflict && !answer.Link && time.Since(e.ReceivedAt) <= maxSnoozeAge:
		wait := cmp.Or(answer.RetryAfter, max((time.Since(e.ReceivedAt)/10).Truncate(time.Second), time.Minute))
		return setback{err: err, fate: fateSnooze, delay: snoozeFor(wait)}
	case isBusy(answer.StatusCode) && time.Since(e.ReceivedAt) <= maxSnoozeAge:
		return setback{err: err, fate: fateSnooze, delay: snoozeFor(answer.RetryAfter)}
	case t == lumin.FileAgreement && !answer.Link && isFinal(answer.StatusCode):
		return setback{err: err, fate: fateFail}
	default:
		return setback{err: err}
	}
}

func isBusy(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// isFinal reports whether repeating a request cannot change the API's response.
func isFinal(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone,
		http.StatusRequestURITooLong, http.StatusUnprocessableEntity, http.StatusUnavailableForLegalReasons:
		return true
	default:
		return false
	}
}

// runError returns an error that gives the run the lowest fate of its setbacks.
func runError(setbacks []setback) error {
	if len(setbacks) == 0 {
		return nil
	}
	errs, worst := make([]error, 0, len(setbacks)), setbacks[0]
	for _, s := range setbacks {
		errs = append(errs, s.err)
		if s.fate < worst.fate || s.fate == worst.fate && s.delay > worst.delay {
			worst = s
		}
	}
	err := errors.Join(errs...)
	switch worst.fate {
	case fateSnooze:
		return fmt.Errorf("%w: %w", err, river.JobSnooze(worst.delay))
	case fateFail:
		return worker.JobFail(err)
	default:
		return err
	}
}

// erasePageSize is how many rows are read at a time.
const erasePageSize = 100

// EraseArchived removes the files that an erasure has marked from the bucket,
// and then their rows. It returns the number of removed files. A file that
// cannot be removed does not stop the others and is left for another call; err
// is the first such error. The call may be interrupted and repeated at any
// time, and several calls may run at once. Rows of other buckets are not
// touched.
func (a ArchiveContract) EraseArchived(ctx context.Context) (n int, err error) {
	var last archive.File
	for {
		page, listErr := archive.ListErased(ctx, a.DB, bucketName(a.BucketURL), last, erasePageSize)
		if listErr != nil {
			return n, errors.Join(err, listErr)
		}
		for _, file := range page {
			gone, eraseErr := a.erase(ctx, file)
			switch {
			case gone:
				n++
			case eraseErr != nil && err == nil:
				err = fmt.Errorf("erase an archived file: %w", eraseErr)
			}
		}
		if len(page) < erasePageSize {
			return n, err
		}
		last = page[len(page)-1]
	}
}

// Periodic returns periodic work that calls EraseArchived four times a minute.
func (a ArchiveContract) Periodic(logger *slog.Logger) worker.Periodic {
	return worker.Periodic{Kind: "erase_archived", Every: 15 * time.Second, Timeout: 2 * time.Minute, Work: func(ctx context.Context) error {
		n, err := a.EraseArchived(ctx)
		if n > 0 {
			logger.Info("archived files erased", "files", n)
		}
		return err
	}}
}

// erase removes a file and then its row. If a file is unexpectedly missing, it
// may be in another bucket of the same name, so its row stays.
func (a ArchiveContract) erase(ctx context.Context, file archive.File) (gone bool, err error) {
	if file.ArchivedAt != nil {
		found, err := a.Bucket.Exists(ctx, file.ObjectKey)
		if err != nil {
			return false, bucketError(ctx, err)
		}
		if !found {
			return false, errors.New("an archived file is missing from its bucket: is this another bucket of the same name? " +
				"If someone removed the file, delete its row from lumin.archived_files")
		}
		if err := archive.Forget(ctx, a.DB, file); err != nil {
			return false, err
		}
		file.ArchivedAt = nil
	}
	if err := a.remove(ctx, file.ObjectKey); err != nil {
		return false, err
	}
	return archive.Remove(ctx, a.DB, file)
}

// remove removes an object and the remains of attempts that crashed. A bucket
// that is a directory keeps such remains beside the object, under a longer
// name. An object that is missing counts as removed if the bucket itself is
// accessible.
func (a ArchiveContract) remove(ctx context.Context, key string) error {
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
