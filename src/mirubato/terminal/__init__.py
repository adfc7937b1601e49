"""What a person asks in a terminal of a gateway that is running: tables, plots."""
