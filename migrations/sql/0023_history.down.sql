DROP TABLE lumin.backlog_minutes;
DROP TABLE lumin.attempt_hours;
DROP TABLE lumin.attempt_minutes;
DROP TABLE lumin.delivery_hours;
DROP TABLE lumin.delivery_minutes;
