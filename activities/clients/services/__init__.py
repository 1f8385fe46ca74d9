"""Replicas as services of a Docker Swarm."""
