-- Usage of the cloud, hour by hour: kept for longer than the samples that it was metered from.
CREATE TABLE cost_usage (
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
CREATE TABLE cost_coverage (
  hour INTEGER NOT NULL,
  source TEXT NOT NULL,
  dataset TEXT NOT NULL,
  seen REAL NOT NULL,
  note TEXT NOT NULL,
  PRIMARY KEY (hour, source, dataset)
);
-- USD a billing period; '' is all products together. Money is text: no digit is lost.
CREATE TABLE cost_budget (product TEXT PRIMARY KEY, usd TEXT NOT NULL, changed INTEGER NOT NULL);
-- Stages of budgets that were crossed, and what was done.
CREATE TABLE cost_journal (
  period TEXT NOT NULL,
  product TEXT NOT NULL,
  stage TEXT NOT NULL,
  at INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  content TEXT NOT NULL,
  PRIMARY KEY (period, product, stage)
);
-- When a metric was last asked for by a rule, a dashboard or a query.
CREATE TABLE cost_metric_use (metric TEXT PRIMARY KEY, at INTEGER NOT NULL);
