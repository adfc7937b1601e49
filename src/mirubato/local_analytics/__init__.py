"""A local Analytics Engine: event points as they came, and Analytics Engine's SQL over them."""
