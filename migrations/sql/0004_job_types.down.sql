DROP INDEX lumin.signature_requests_unchecked_idx;
ALTER TABLE lumin.signature_requests DROP COLUMN checked_at;
ALTER TABLE lumin.erasures DROP COLUMN files;
DROP TABLE lumin.archived_files;
ALTER TABLE lumin.runs DROP COLUMN again;
