"""The catalogue of known servers."""
