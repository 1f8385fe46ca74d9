"""The relational store, whose rows decide what is true: SQLite when embedded, MySQL in production."""
