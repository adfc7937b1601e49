"""SQLite files: one writer thread each; and the relational state of the gateway."""
