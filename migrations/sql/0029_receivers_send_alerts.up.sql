-- The role lumin_ingest gets the rights to send alerts while no program runs jobs.
-- Package migrations renews the rights of all roles after each migration.
COMMENT ON TABLE lumin.alert_sending IS 'At most one row: the program that looks and sends at this moment, and how sending goes. A program that only receives is in it only while no program runs jobs.';
COMMENT ON TABLE lumin.alerts IS 'One condition that needs a person, or did within the last seven days. Programs write it.';
