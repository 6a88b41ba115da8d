package app

import (
	"context"
	"fmt"
	"net/url"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file://, which needs no other package

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/redact"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/archivecontract"
)

// archiveSettings configure archive_contract.
type archiveSettings struct {
	ArchiveURL   string   `name:"archive-url" env:"ARCHIVE_URL" placeholder:"URL" help:"Archive signed contracts in this bucket, such as file:///archive or s3://contracts?region=eu-central-1."`
	ArchiveFiles []string `env:"ARCHIVE_FILES" default:"agreement" enum:"agreement,coc,merged" help:"Files to archive: agreement, coc (the certificate), merged (both in one)."`
}

func (s archiveSettings) addArchive(ctx context.Context, registry *worker.Registry, env Env) error {
	var err error
	if s.ArchiveURL, err = clean("ARCHIVE_URL", s.ArchiveURL); err != nil || s.ArchiveURL == "" {
		return err
	}
	if env.Lumin == nil {
		return advice.Usage("ARCHIVE_URL is set and LUMIN_API_KEY is not", "set LUMIN_API_KEY to a key of the workspace, which is needed to download the contracts; or unset ARCHIVE_URL")
	}
	bucket, err := openBucket(ctx, s.ArchiveURL)
	if err != nil {
		return err
	}
	archive := archivecontract.JobType{Lumin: env.Lumin, Bucket: bucket, BucketURL: s.ArchiveURL, DB: env.DB}
	for _, file := range s.ArchiveFiles {
		archive.Files = append(archive.Files, lumin.FileType(file))
	}
	registry.Add(archive)
	registry.AddPeriodic(archive.Periodic(env.Logger))
	return nil
}

// openBucket opens the bucket of ARCHIVE_URL. It stays open until the program
// ends.
func openBucket(ctx context.Context, archiveURL string) (*blob.Bucket, error) {
	const form = "write it as file:///directory or s3://bucket?region=REGION"
	u, err := url.Parse(archiveURL) // not quoted: it may hold credentials
	switch {
	case err != nil:
		return nil, advice.Usage("ARCHIVE_URL is not a URL", form)
	case u.Scheme == "":
		return nil, advice.Usage("ARCHIVE_URL has no scheme", form)
	case u.Scheme == "file" && u.Host != "" && u.Host != "." && u.Host != "localhost":
		return nil, advice.Usage("ARCHIVE_URL names a host", "write a directory with three slashes: file:///directory")
	case !blob.DefaultURLMux().ValidBucketScheme(u.Scheme):
		return nil, noDriver(u.Scheme)
	}
	bucket, err := blob.OpenBucket(ctx, bucketURL(u))
	if err != nil && u.Scheme == "file" {
		return nil, advice.Usage("ARCHIVE_URL cannot be opened: "+redact.Text(err.Error()), "create the directory, or add ?create_dir=true to ARCHIVE_URL")
	}
	if err != nil {
		return nil, advice.Usage("ARCHIVE_URL cannot be opened: "+redact.Text(err.Error()), form)
	}
	return bucket, nil
}

// noDriver returns the error for a bucket whose driver this program does not
// import.
func noDriver(scheme string) error {
	driver, known := map[string]string{"s3": "s3blob", "gs": "gcsblob", "azblob": "azureblob", "mem": "memblob"}[scheme]
	if !known {
		return advice.Usage("ARCHIVE_URL cannot be opened: its scheme is unknown", "use file:///directory, s3://, gs:// or azblob://")
	}
	return advice.Usage(fmt.Sprintf("ARCHIVE_URL cannot be opened: %s has no driver for %s://", programName(), scheme),
		`add this line to its main package and rebuild: import _ "gocloud.dev/blob/%s"`, driver)
}

// bucketURL returns the URL that opens a bucket. A bucket of files keeps
// unfinished files in its own directory: they could not be moved into place
// from a temporary directory on another file system. It has no attribute files,
// because lumin.archived_files holds the same facts.
func bucketURL(u *url.URL) string {
	if u.Scheme != "file" {
		return u.String()
	}
	query := u.Query()
	for name, value := range map[string]string{"no_tmp_dir": "true", "metadata": "skip"} {
		if !query.Has(name) {
			query.Set(name, value)
		}
	}
	changed := *u
	changed.RawQuery = query.Encode()
	return changed.String()
}
