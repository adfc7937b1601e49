-- A version of a service that replaced another: seen in what it sends, or told of.
CREATE TABLE deploy (
    id TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    previous TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    source TEXT NOT NULL
);
CREATE INDEX deploy_by_time ON deploy (time_ms);

-- Which versions of which service run, and when each was last seen: what a new one is known by after a restart.
CREATE TABLE service_version (
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (service, version)
);
