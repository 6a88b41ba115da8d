-- Tables and columns of the built-in job types, and the number of replays of a
-- succeeded run.

ALTER TABLE lumin.runs ADD COLUMN again integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN lumin.runs.again IS 'How many times a replay has asked for a succeeded run to take effect once more. Part of the idempotency key.';

CREATE TABLE lumin.archived_files (
    event_key            uuid        NOT NULL,
    file_type            text        NOT NULL,
    again                integer     NOT NULL,
    signature_request_id text        NOT NULL,
    bucket               text        NOT NULL,
    object_key           text        NOT NULL,
    sha256               bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    size_bytes           bigint      NOT NULL,
    archived_at          timestamptz,
    erasure_id           bigint,
    PRIMARY KEY (event_key, file_type, again)
);
CREATE INDEX archived_files_signature_request_idx ON lumin.archived_files (signature_request_id);
CREATE INDEX archived_files_erasure_idx ON lumin.archived_files (erasure_id) WHERE erasure_id IS NOT NULL;
COMMENT ON TABLE lumin.archived_files IS 'One file of a signature request. The job type archive_contract keeps it in a bucket.';
COMMENT ON COLUMN lumin.archived_files.file_type IS 'agreement, coc (Certificate of Completion) or merged (both).';
COMMENT ON COLUMN lumin.archived_files.again IS 'The number of the run: a replay of a succeeded run archives the file once more.';
COMMENT ON COLUMN lumin.archived_files.bucket IS 'URL of the bucket without its query: file:///archive, s3://contracts.';
COMMENT ON COLUMN lumin.archived_files.archived_at IS 'NULL until the bucket has the file. The row is inserted first, so that an erasure finds a file even after a crash.';
COMMENT ON COLUMN lumin.archived_files.erasure_id IS 'The erasure that removes the file. The row is deleted with the file.';

ALTER TABLE lumin.erasures ADD COLUMN files bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN lumin.erasures.files IS 'Number of archived files. A program that has access to the bucket removes each file; until then it is in lumin.archived_files.';

ALTER TABLE lumin.signature_requests ADD COLUMN checked_at timestamptz;
COMMENT ON COLUMN lumin.signature_requests.checked_at IS 'When the reconciliation last requested the state from Lumin.';
CREATE INDEX signature_requests_unchecked_idx ON lumin.signature_requests (checked_at NULLS FIRST, signature_request_id)
    WHERE status IS NULL OR status NOT IN ('APPROVED', 'REJECTED', 'FAILED', 'CANCELLED');
