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
	"lumin-ingest/worker"
)

// ArchiveContract keeps the files of a signature request in a bucket, once Lumin says
// that they can be downloaded, and a row for each in lumin.archived_files.
//
// A file is there as {signature_request_id}/{file type}-{idempotency key}.pdf, the
// last of which is [store.Event.IdempotencyKey]: every attempt writes the same object.
// An id that is not 1 to 128 letters, digits, _ and - is replaced by its SHA-256 in
// hexadecimal. In a bucket of files only the user of the program can read it. The bucket hears of a file once all of it has been downloaded, to a
// temporary file that has no name. Its row is there before, for an erasure to find it
// in any case, and has archived_at once the bucket has the file; from then on it is
// not downloaded again. Only a replay of a succeeded run archives anew.
//
// An upload to S3 of more than 16 MiB that is stopped, or crashes, may leave parts there
// that no listing shows: let the bucket have a lifecycle rule that aborts incomplete
// multipart uploads.
//
// What Lumin answers decides what becomes of the run, when all files have been tried:
//
//   - 429 and 503: it is put off without counting an attempt, by Retry-After, from a
//     second to an hour, or by a minute if the answer has none; but once the event was
//     received more than a day ago, they count like 5xx.
//   - 409, by which Lumin says that the signature request is not approved yet: likewise,
//     but without a Retry-After it waits a tenth of the event's age, from a minute to an
//     hour.
//   - 400, 404, 405, 410, 414, 422 and 451, for the agreement: it fails at once, and
//     can be replayed. For the other files they may only mean that the certificate has
//     not been made yet. So does, for any file, one that is larger than
//     [lumin.MaxFileSize], or an id that fits no path.
//   - Everything else, such as 401 and 403, which an operator mends with another key, and
//     all that goes wrong with the bucket or the signed link: it is tried again after
//     Backoff.
//
// All fields but Files must be set.
type ArchiveContract struct {
	worker.Defaults

	Lumin  *lumin.Client
	Bucket *blob.Bucket // the caller's to close
	DB     *pgxpool.Pool

	// BucketURL is what Bucket was opened by. Rows have it without credentials and
	// query, save that a prefix in its query becomes part of the path: by this
	// EraseArchived knows which files are in this bucket.
	BucketURL string

	// Files are the file types to keep. None means the agreement.
	Files []lumin.FileType
}

// Kind implements worker.JobType.
func (ArchiveContract) Kind() string { return "archive_contract" }

// Events implements worker.JobType.
func (ArchiveContract) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestDownloadable}
}

// Queue is archive, so that downloads hold up nothing else.
func (ArchiveContract) Queue() string { return "archive" }

// Timeout is two minutes, in which all files have to be downloaded and stored.
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
	return whatBecomes(setbacks)
}

// archive keeps one file, unless it is kept already.
func (a ArchiveContract) archive(ctx context.Context, e *store.Event, t lumin.FileType) error {
	archived, err := store.HasArchivedFile(ctx, a.DB, e.Key, t, e.Again)
	if err != nil || archived {
		return err
	}
	file, err := a.download(ctx, e.SignatureRequestID, t)
	if err != nil {
		return err
	}
	defer file.Close()
	row := store.ArchivedFile{
		EventKey: e.Key, FileType: t, Again: e.Again, SignatureRequestID: e.SignatureRequestID,
		Bucket: bucketName(a.BucketURL), ObjectKey: objectKey(e, t), SHA256: file.sum, Size: file.size,
	}
	return a.keep(ctx, row, file)
}

// keep writes a file into the bucket, between two looks at its row. Another attempt
// that may be under way beside this one must not write the same object: Lumin may make
// the file anew for each, and the row would have the hash of only one.
func (a ArchiveContract) keep(ctx context.Context, row store.ArchivedFile, file io.Reader) error {
	conn, err := a.DB.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("get a connection: %w", err)
	}
	defer conn.Release()
	locked, err := store.LockArchivedFile(ctx, conn, row)
	if err != nil {
		return err
	}
	if !locked {
		return errors.New("another attempt is writing the " + string(row.FileType))
	}
	defer func() {
		unlocking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if store.UnlockArchivedFile(unlocking, conn, row) != nil {
			_ = conn.Conn().Close(unlocking) // the lock goes with it
		}
	}()
	archived, err := store.HasArchivedFile(ctx, conn, row.EventKey, row.FileType, row.Again)
	if err != nil || archived { // by the attempt that had the lock before
		return err
	}
	if err := store.BeginArchivedFile(ctx, conn, row); err != nil {
		return err
	}
	if err := a.write(ctx, row.ObjectKey, file); err != nil {
		return fmt.Errorf("archive the %s: %w", row.FileType, err)
	}
	err = store.FinishArchivedFile(ctx, conn, row)
	if errors.Is(err, store.ErrNotFound) { // erased while it was written
		return errors.Join(err, a.remove(ctx, row.ObjectKey))
	}
	return err
}

// downloaded is a whole file from Lumin, on disk until it is closed.
type downloaded struct {
	*os.File
	sum  [32]byte
	size int64
}

// download fetches a file from Lumin. It is not sent on to the bucket while it comes:
// a store that takes large objects in parts may keep those of one that broke off.
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
	_ = os.Remove(disk.Name()) // it lives as long as it is open, and survives no crash
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

// write copies a file into the bucket. The object comes to be when the writer is
// closed, and does not if its context has ended by then.
func (a ArchiveContract) write(ctx context.Context, key string, file io.Reader) error {
	writing, abort := context.WithCancel(ctx)
	defer abort()
	w, err := a.Bucket.NewWriter(writing, key, &blob.WriterOptions{ContentType: "application/pdf", BeforeWrite: private})
	if err != nil {
		return bucketError(ctx, err)
	}
	if _, err := io.Copy(w, file); err != nil {
		abort()
		_ = w.Close() // it tells of the context
		return bucketError(ctx, err)
	}
	if err := w.Close(); err != nil {
		return bucketError(ctx, err)
	}
	return nil
}

// private lets only the user of this program read a file, if the bucket is a
// directory. Its driver would leave that to the umask.
func private(as func(any) bool) error {
	var file *os.File
	if !as(&file) {
		return nil
	}
	return file.Chmod(0o600)
}

// bucketError is the error of a bucket without the URLs that drivers put into it.
// Only what is wrong with the context stays what it was.
func bucketError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("the bucket did not answer in time: %w", ctx.Err())
	}
	return errors.New("the bucket refused: " + redact.Text(err.Error()))
}

// objectKey is where a file is kept.
func objectKey(e *store.Event, t lumin.FileType) string {
	return folder(e.SignatureRequestID) + "/" + string(t) + "-" + e.IdempotencyKey() + ".pdf"
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// folder is an id as part of a path.
func folder(id string) string {
	if plainID.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// bucketName is the URL of a bucket as rows have it: without what is no part of its
// name, such as credentials and regions.
func bucketName(bucketURL string) string {
	u, err := url.Parse(bucketURL)
	if err != nil {
		return "unknown" // err quotes it, and so would the row
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

// setback is what came of a file that was not archived.
type setback struct {
	err   error
	fate  fate
	delay time.Duration // of putOff
}

// fate is what an error makes of the run. The later ones give way to the earlier
// ones when several files have failed.
type fate int

const (
	tryAgain fate = iota
	putItOff
	failNow
)

// setbackOf judges an error.
func setbackOf(e *store.Event, t lumin.FileType, err error) setback {
	var answer *lumin.APIError
	switch {
	case errors.Is(err, lumin.ErrInvalidID), errors.Is(err, lumin.ErrFileTooLarge):
		return setback{err: err, fate: failNow}
	case !errors.As(err, &answer):
		return setback{err: err}
	case answer.StatusCode == http.StatusConflict && !answer.Link && time.Since(e.ReceivedAt) <= maxPutOff:
		wait := cmp.Or(answer.RetryAfter, max((time.Since(e.ReceivedAt)/10).Truncate(time.Second), time.Minute))
		return setback{err: err, fate: putItOff, delay: putOff(wait)}
	case isBusy(answer.StatusCode) && time.Since(e.ReceivedAt) <= maxPutOff:
		return setback{err: err, fate: putItOff, delay: putOff(answer.RetryAfter)}
	case t == lumin.FileAgreement && !answer.Link && isFinal(answer.StatusCode):
		return setback{err: err, fate: failNow}
	default:
		return setback{err: err}
	}
}

func isBusy(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// isFinal reports whether an answer of the API will be the same whoever asks again.
func isFinal(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone,
		http.StatusRequestURITooLong, http.StatusUnprocessableEntity, http.StatusUnavailableForLegalReasons:
		return true
	default:
		return false
	}
}

// whatBecomes is the error that makes of a run what its worst setback asks for.
func whatBecomes(setbacks []setback) error {
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
	case putItOff:
		return fmt.Errorf("%w: %w", err, river.JobSnooze(worst.delay))
	case failNow:
		return worker.JobFail(err)
	default:
		return err
	}
}

// erasePageSize is how many rows of files to erase are held at a time.
const erasePageSize = 100

// EraseArchived removes from the bucket the files that an erasure wants gone, and their
// rows with them, and returns how many these were. What cannot be removed is left for
// another call, and does not keep the others; err is then the first that went wrong. It may be
// stopped and called again at any time, also by several at once. Rows of other buckets are not
// touched.
func (a ArchiveContract) EraseArchived(ctx context.Context) (n int, err error) {
	var last store.ArchivedFile
	for {
		page, listErr := store.ErasedArchivedFiles(ctx, a.DB, bucketName(a.BucketURL), last, erasePageSize)
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

// Periodic has a running program call EraseArchived four times a minute.
func (a ArchiveContract) Periodic(logger *slog.Logger) worker.Periodic {
	return worker.Periodic{Kind: "erase_archived", Every: 15 * time.Second, Timeout: 2 * time.Minute, Work: func(ctx context.Context) error {
		n, err := a.EraseArchived(ctx)
		if n > 0 {
			logger.Info("archived files erased", "files", n)
		}
		return err
	}}
}

// erase removes a file and then its row, unless that has to stay for another look. A
// file that should be there and is not may be in another bucket of this name, so its
// row stays as well.
func (a ArchiveContract) erase(ctx context.Context, file store.ArchivedFile) (gone bool, err error) {
	if file.ArchivedAt != nil {
		found, err := a.Bucket.Exists(ctx, file.ObjectKey)
		if err != nil {
			return false, bucketError(ctx, err)
		}
		if !found {
			return false, errors.New("a file is not in the bucket where it was archived: is this another bucket of the same name? " +
				"If the file was removed by other means, delete its row from lumin.archived_files")
		}
		if err := store.ForgetArchivedFile(ctx, a.DB, file); err != nil {
			return false, err
		}
		file.ArchivedAt = nil
	}
	if err := a.remove(ctx, file.ObjectKey); err != nil {
		return false, err
	}
	return store.RemoveArchivedFile(ctx, a.DB, file)
}

// remove removes an object, and what a crash may have left of earlier attempts at it:
// a bucket of files keeps those beside the object, under a longer name. What is
// missing from a bucket that is there has been removed.
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
