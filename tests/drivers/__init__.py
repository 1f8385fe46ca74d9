"""Drivers of replicas, each against what really runs them."""
