"""Tests of what is counted and measured of deployments and replicas."""
