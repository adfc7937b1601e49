"""Who may do what: tokens and sessions, their limits, the record of changes; no sockets, no HTTP."""
