-- Rules that came by the API, as JSON in the words of the API; those of files stay in their files.
CREATE TABLE rule (
    id TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
);


-- Alerts that are not inactive, or of which something is still to be told; `memory` is JSON (alerts/journal.py).
CREATE TABLE alert (
    id TEXT PRIMARY KEY,
    rule_id TEXT NOT NULL,
    series TEXT NOT NULL,
    labels TEXT NOT NULL,
    phase TEXT NOT NULL,
    value REAL,
    memory TEXT NOT NULL
);

-- Groups of alerts that share messages, while one of them fires; `content` is JSON.
CREATE TABLE alert_group (id TEXT PRIMARY KEY, content TEXT NOT NULL);

-- Every change of state, only ever appended to.
CREATE TABLE alert_change (
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
CREATE INDEX alert_change_at ON alert_change (at_ms);

CREATE TABLE silence (
    id TEXT PRIMARY KEY,
    matchers TEXT NOT NULL,
    starts_ms INTEGER NOT NULL,
    ends_ms INTEGER NOT NULL,
    author TEXT NOT NULL,
    comment TEXT NOT NULL,
    announced INTEGER NOT NULL
);

-- The outbox: one row for each message and receiver; `state` is owed, delivered, refused or given_up.
CREATE TABLE delivery (
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
CREATE INDEX delivery_owed ON delivery (receiver, created_ms) WHERE state = 'owed';
CREATE INDEX delivery_created ON delivery (created_ms);
