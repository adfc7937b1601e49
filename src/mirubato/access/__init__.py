"""Who may do what: tokens, their limits, the audit of changes."""
