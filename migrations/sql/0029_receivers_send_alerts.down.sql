COMMENT ON TABLE lumin.alert_sending IS 'At most one row: the program that looks and sends at this moment, and how sending goes.';
COMMENT ON TABLE lumin.alerts IS 'One condition that needs a person, or did within the last seven days. Programs with ALERT_WEBHOOK_URL write it.';
