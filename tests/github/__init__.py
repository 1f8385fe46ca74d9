"""Connections to repositories, against a GitHub of the tests."""
