DROP TABLE lumin.replays;
