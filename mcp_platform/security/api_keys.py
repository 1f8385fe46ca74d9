"""API keys: 256 random bits behind a prefix that secret scanners can find."""

import hashlib
import secrets

API_KEY_PREFIX = "mcp_live_"
_SHOWN = len(API_KEY_PREFIX) + 6


def new_api_key() -> str:
    """Make a key to show once."""
    return API_KEY_PREFIX + secrets.token_urlsafe(32)


def api_key_hash(key: str) -> str:
    """Hash a key: what is stored and looked up instead of the key.

    A plain SHA-256 is right here: 256 random bits cannot be guessed, however fast the hash; and a
    look-up by hash leaks nothing through its timing.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def api_key_label(key: str) -> str:
    """Cut off the first characters, by which its owner recognises a key."""
    return key[:_SHOWN]
