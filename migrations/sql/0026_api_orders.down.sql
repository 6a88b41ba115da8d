ALTER TABLE lumin.erasures DROP COLUMN order_token;
ALTER TABLE lumin.replays DROP COLUMN order_token;
DROP TABLE lumin.api_orders;
