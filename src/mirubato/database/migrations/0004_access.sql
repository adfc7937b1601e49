-- Who may come in, and what was changed by whom. Times in ms since 1970; a digest is the hex SHA-256 of a secret.
CREATE TABLE token (
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
CREATE TABLE token_usage (
    token TEXT NOT NULL,
    day INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    points INTEGER NOT NULL,
    last_used_ms INTEGER NOT NULL,
    PRIMARY KEY (token, day)
);
CREATE TABLE session (
    digest TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    status INTEGER NOT NULL,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL
);
