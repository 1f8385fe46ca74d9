"""OAuth at the gateway: which endpoints offer it, what clients are told, and tokens for remote servers."""
