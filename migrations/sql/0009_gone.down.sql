DROP INDEX lumin.signature_requests_unchecked_idx;
CREATE INDEX signature_requests_unchecked_idx ON lumin.signature_requests (checked_at NULLS FIRST, signature_request_id)
    WHERE status IS NULL OR status NOT IN ('APPROVED', 'REJECTED', 'FAILED', 'CANCELLED');
ALTER TABLE lumin.signature_requests DROP COLUMN gone_at;
