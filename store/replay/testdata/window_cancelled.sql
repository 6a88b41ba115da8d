SELECT event_key FROM lumin.runs WHERE state = 'cancelled' AND event_key >= $1 ORDER BY event_key OFFSET $2 LIMIT 1
