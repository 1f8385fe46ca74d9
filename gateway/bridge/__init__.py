"""The bridge: one calling surface that finds the service which has a tool, and its administration."""
