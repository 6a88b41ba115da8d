DROP TABLE lumin.signature_requests;
DROP TABLE lumin.job_types;
DROP TABLE lumin.failures;
DROP TABLE lumin.runs;
DROP TABLE lumin.redeliveries;
DROP TABLE lumin.events;
