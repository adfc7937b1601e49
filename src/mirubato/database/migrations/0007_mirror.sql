-- Rows that changed and are not on the mirror yet, in order. Triggers write it where a mirror is set up, nobody else.
CREATE TABLE mirror_change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    of_table TEXT NOT NULL,
    row_key TEXT NOT NULL,      -- the primary key as a JSON list
    at_ms INTEGER NOT NULL
);
