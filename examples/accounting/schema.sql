CREATE SCHEMA accounting;

CREATE TABLE accounting.fees (
    product  text PRIMARY KEY,
    net      numeric(12, 2) NOT NULL CHECK (net >= 0),
    tax_rate numeric(5, 4) NOT NULL CHECK (tax_rate >= 0), -- 0.1900 is 19 %
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$')
);

-- One entry per event. The run of the job type already ensures that. The primary
-- key is a second safeguard.
CREATE TABLE accounting.entries (
    event_key            uuid PRIMARY KEY,
    signature_request_id text NOT NULL,
    product              text NOT NULL,
    net                  numeric(12, 2) NOT NULL,
    tax                  numeric(12, 2) NOT NULL,
    gross                numeric(13, 2) GENERATED ALWAYS AS (net + tax) STORED,
    currency             text NOT NULL,
    booked_on            date NOT NULL
);
