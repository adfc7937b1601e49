-- Hours and days of chosen metrics (MIRUBATO_ROLLUP_METRICS), written by the gateway for those who read SQL.
-- A bucket is named by its end (ms since 1970, UTC): it holds samples later than the one before, up to its end.
-- series: the first 32 hexadecimal digits of the SHA-256 of the labels as JSON pairs; labels: a JSON object.
-- increase: of a counter, resets handled, since the last sample of the bucket before. NULL: NaN or infinite.
CREATE TABLE rollup_hourly (
    series TEXT NOT NULL, end_ms INTEGER NOT NULL, metric TEXT NOT NULL, labels TEXT NOT NULL,
    count INTEGER NOT NULL, sum REAL, min REAL, max REAL, last REAL, increase REAL,
    PRIMARY KEY (series, end_ms));
CREATE INDEX rollup_hourly_by_metric ON rollup_hourly (metric, end_ms);
CREATE TABLE rollup_daily (
    series TEXT NOT NULL, end_ms INTEGER NOT NULL, metric TEXT NOT NULL, labels TEXT NOT NULL,
    count INTEGER NOT NULL, sum REAL, min REAL, max REAL, last REAL, increase REAL,
    PRIMARY KEY (series, end_ms));
CREATE INDEX rollup_daily_by_metric ON rollup_daily (metric, end_ms);
