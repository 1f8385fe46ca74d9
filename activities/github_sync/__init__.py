"""Connections to repositories: made, synced, pushed, watched and ended."""
