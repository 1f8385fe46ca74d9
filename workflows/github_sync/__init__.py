"""Workflows of connections to repositories."""
