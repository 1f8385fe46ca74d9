"""Looking packages up, and trying servers."""
