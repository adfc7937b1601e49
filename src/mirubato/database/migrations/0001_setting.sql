-- What the gateway itself must remember between runs, as JSON by name.
CREATE TABLE remembered (name TEXT PRIMARY KEY, content TEXT NOT NULL);
