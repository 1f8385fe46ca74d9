"""Our own data: rows in SQL, immutable documents, and the cache."""
