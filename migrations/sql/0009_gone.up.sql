-- A signature request that Lumin no longer has is marked, so that it is not
-- requested again.

ALTER TABLE lumin.signature_requests ADD COLUMN gone_at timestamptz;
COMMENT ON COLUMN lumin.signature_requests.gone_at IS 'When the reconciliation found that Lumin no longer has this signature request. A newer event clears it.';
DROP INDEX lumin.signature_requests_unchecked_idx;
CREATE INDEX signature_requests_unchecked_idx ON lumin.signature_requests (checked_at NULLS FIRST, signature_request_id)
    WHERE (status IS NULL OR status NOT IN ('APPROVED', 'REJECTED', 'FAILED', 'CANCELLED')) AND gone_at IS NULL;
