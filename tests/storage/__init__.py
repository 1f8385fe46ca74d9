"""One contract for each repository and store, held to on every backend."""
