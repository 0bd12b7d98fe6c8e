"""A key-value store in one SQLite file."""
