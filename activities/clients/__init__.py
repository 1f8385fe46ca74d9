"""The outside world, as the activities see it."""
