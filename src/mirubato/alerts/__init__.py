"""Rules, their schedule, the state machine, the journal, and what is owed to whom."""
