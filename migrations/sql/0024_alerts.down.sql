DROP TABLE lumin.alert_sending;
DROP TABLE lumin.alerts;
