-- The relational state of a gateway, for SQLite and for Cloudflare D1:
--   wrangler d1 execute DATABASE --file schema.sql
-- Written by `mirubato migrate --print` from src/mirubato/database/migrations; a test holds it to them.

CREATE TABLE IF NOT EXISTS mirubato_migration (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);

-- 1: setting
-- What the gateway itself must remember between runs, as JSON by name.
CREATE TABLE IF NOT EXISTS remembered (name TEXT PRIMARY KEY, content TEXT NOT NULL);

INSERT OR IGNORE INTO mirubato_migration VALUES (1, 'setting');

-- 2: alerts
-- Rules that came by the API, as JSON in the words of the API; those of files stay in their files.
CREATE TABLE IF NOT EXISTS rule (
    id TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
);


-- Alerts that are not inactive, or of which something is still to be told; `memory` is JSON (alerts/journal.py).
CREATE TABLE IF NOT EXISTS alert (
    id TEXT PRIMARY KEY,
    rule_id TEXT NOT NULL,
    series TEXT NOT NULL,
    labels TEXT NOT NULL,
    phase TEXT NOT NULL,
    value REAL,
    memory TEXT NOT NULL
);

-- Groups of alerts that share messages, while one of them fires; `content` is JSON.
CREATE TABLE IF NOT EXISTS alert_group (id TEXT PRIMARY KEY, content TEXT NOT NULL);

-- Every change of state, only ever appended to.
CREATE TABLE IF NOT EXISTS alert_change (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    alert_id TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    rule_name TEXT NOT NULL,
    labels TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    value REAL,
    annotations TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS alert_change_at ON alert_change (at_ms);

CREATE TABLE IF NOT EXISTS silence (
    id TEXT PRIMARY KEY,
    matchers TEXT NOT NULL,
    starts_ms INTEGER NOT NULL,
    ends_ms INTEGER NOT NULL,
    author TEXT NOT NULL,
    comment TEXT NOT NULL,
    announced INTEGER NOT NULL
);

-- The outbox: one row for each message and receiver; `state` is owed, delivered, refused or given_up.
CREATE TABLE IF NOT EXISTS delivery (
    id TEXT NOT NULL,
    receiver TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    alert_group TEXT NOT NULL,
    thread TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    state TEXT NOT NULL,
    done_ms INTEGER NOT NULL,
    problem TEXT NOT NULL,
    reference TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (id, receiver)
);
CREATE INDEX IF NOT EXISTS delivery_owed ON delivery (receiver, created_ms) WHERE state = 'owed';
CREATE INDEX IF NOT EXISTS delivery_created ON delivery (created_ms);

INSERT OR IGNORE INTO mirubato_migration VALUES (2, 'alerts');

-- 3: costs
-- Usage of the cloud, hour by hour: kept for longer than the samples that it was metered from.
CREATE TABLE IF NOT EXISTS cost_usage (
  hour INTEGER NOT NULL,      -- ms since 1970, UTC
  product TEXT NOT NULL,
  meter TEXT NOT NULL,
  script TEXT NOT NULL,       -- '' if it is of no Worker or service
  label TEXT NOT NULL,        -- such as 'bucket=assets', or ''
  source TEXT NOT NULL,       -- metered, graphql, own
  quantity REAL NOT NULL,
  PRIMARY KEY (hour, product, meter, script, label, source)
);
-- How much of an hour a source has seen, 0 to 1; what has no row was not looked at.
CREATE TABLE IF NOT EXISTS cost_coverage (
  hour INTEGER NOT NULL,
  source TEXT NOT NULL,
  dataset TEXT NOT NULL,
  seen REAL NOT NULL,
  note TEXT NOT NULL,
  PRIMARY KEY (hour, source, dataset)
);
-- USD a billing period; '' is all products together. Money is text: no digit is lost.
CREATE TABLE IF NOT EXISTS cost_budget (product TEXT PRIMARY KEY, usd TEXT NOT NULL, changed INTEGER NOT NULL);
-- Stages of budgets that were crossed, and what was done.
CREATE TABLE IF NOT EXISTS cost_journal (
  period TEXT NOT NULL,
  product TEXT NOT NULL,
  stage TEXT NOT NULL,
  at INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  content TEXT NOT NULL,
  PRIMARY KEY (period, product, stage)
);
-- When a metric was last asked for by a rule, a dashboard or a query.
CREATE TABLE IF NOT EXISTS cost_metric_use (metric TEXT PRIMARY KEY, at INTEGER NOT NULL);

INSERT OR IGNORE INTO mirubato_migration VALUES (3, 'costs');

-- 4: access
-- Who may come in, and what was changed by whom. Times in ms since 1970; a digest is the hex SHA-256 of a secret.
CREATE TABLE IF NOT EXISTS token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER,
    requests_per_minute INTEGER,
    points_per_minute INTEGER,
    points_per_day INTEGER
);
-- Of each day (UTC, days since 1970): what a budget per day counts, and when a token was last used.
CREATE TABLE IF NOT EXISTS token_usage (
    token TEXT NOT NULL,
    day INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    points INTEGER NOT NULL,
    last_used_ms INTEGER NOT NULL,
    PRIMARY KEY (token, day)
);
CREATE TABLE IF NOT EXISTS session (
    digest TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    status INTEGER NOT NULL,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL
);

INSERT OR IGNORE INTO mirubato_migration VALUES (4, 'access');

-- 5: traces
-- A version of a service that replaced another: seen in what it sends, or told of.
CREATE TABLE IF NOT EXISTS deploy (
    id TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    previous TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    source TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS deploy_by_time ON deploy (time_ms);

-- Which versions of which service run, and when each was last seen: what a new one is known by after a restart.
CREATE TABLE IF NOT EXISTS service_version (
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (service, version)
);

INSERT OR IGNORE INTO mirubato_migration VALUES (5, 'traces');

-- 6: rollups
-- Hours and days of chosen metrics (MIRUBATO_ROLLUP_METRICS), written by the gateway for those who read SQL.
-- A bucket is named by its end (ms since 1970, UTC): it holds samples later than the one before, up to its end.
-- series: the first 32 hexadecimal digits of the SHA-256 of the labels as JSON pairs; labels: a JSON object.
-- increase: of a counter, resets handled, since the last sample of the bucket before. NULL: NaN or infinite.
CREATE TABLE IF NOT EXISTS rollup_hourly (
    series TEXT NOT NULL, end_ms INTEGER NOT NULL, metric TEXT NOT NULL, labels TEXT NOT NULL,
    count INTEGER NOT NULL, sum REAL, min REAL, max REAL, last REAL, increase REAL,
    PRIMARY KEY (series, end_ms));
CREATE INDEX IF NOT EXISTS rollup_hourly_by_metric ON rollup_hourly (metric, end_ms);
CREATE TABLE IF NOT EXISTS rollup_daily (
    series TEXT NOT NULL, end_ms INTEGER NOT NULL, metric TEXT NOT NULL, labels TEXT NOT NULL,
    count INTEGER NOT NULL, sum REAL, min REAL, max REAL, last REAL, increase REAL,
    PRIMARY KEY (series, end_ms));
CREATE INDEX IF NOT EXISTS rollup_daily_by_metric ON rollup_daily (metric, end_ms);

INSERT OR IGNORE INTO mirubato_migration VALUES (6, 'rollups');

-- 7: mirror
-- Rows that changed and are not on the mirror yet, in order. Triggers write it where a mirror is set up, nobody else.
CREATE TABLE IF NOT EXISTS mirror_change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    of_table TEXT NOT NULL,
    row_key TEXT NOT NULL,      -- the primary key as a JSON list
    at_ms INTEGER NOT NULL
);

INSERT OR IGNORE INTO mirubato_migration VALUES (7, 'mirror');
