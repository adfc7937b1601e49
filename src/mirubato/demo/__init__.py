"""A small shop of real, auto-instrumented services that gives the gateway something to show."""
