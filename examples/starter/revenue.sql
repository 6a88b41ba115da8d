CREATE TABLE public.revenue (
    event_key uuid PRIMARY KEY, -- what is booked twice by mistake is refused
    title     text,
    booked_at timestamptz NOT NULL
);
