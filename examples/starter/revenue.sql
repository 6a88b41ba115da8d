CREATE TABLE public.revenue (
    event_key uuid PRIMARY KEY, -- refuses a second row for the same event
    title     text,
    booked_at timestamptz NOT NULL
);
