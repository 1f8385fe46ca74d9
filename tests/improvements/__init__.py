"""Suggestions for registered MCPs."""
