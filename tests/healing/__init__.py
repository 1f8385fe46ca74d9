"""Deployments that are hurt, and heal."""
