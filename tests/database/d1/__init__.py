"""D1's engine, served by workerd."""
