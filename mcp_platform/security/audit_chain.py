"""The keyed hashes that hold the audit log together: without the key none can be made or mended."""

import hashlib
import hmac
import json
import secrets

from mcp_platform.contracts.audit import AuditEvent
from mcp_platform.security.sealing import Sealer

BEGINNING = "0" * 64
"""What the first entry of all follows."""
PURPOSE = "audit-chain"
"""What the key is sealed for."""

_KEY_BYTES = 32


def new_chain_key(sealer: Sealer) -> str:
    """Make a key for a new log, sealed."""
    return sealer.seal(secrets.token_bytes(_KEY_BYTES), PURPOSE)


class ChainKey:
    """Makes the hashes of one log."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def entry_hash(self, seq: int, previous_hash: str, event: AuditEvent) -> str:
        """Hash an entry at this place, after the entry with that hash."""
        # What is empty is left out, so that a field which is added later does not change old entries.
        fields = {
            name: value
            for name, field in AuditEvent.model_fields.items()
            if (value := getattr(event, name)) != field.default
        }
        fields |= {"at": event.at.isoformat(timespec="microseconds"), "actor_id": str(event.actor_id)}
        return self._hash({"seq": seq, "previous_hash": previous_hash, **fields})

    def ends_hash(self, first_seq: int, first_hash: str, last_seq: int, last_hash: str) -> str:
        """Hash where the log begins and ends, so that nobody can cut it and move the mark."""
        return self._hash({"ends": [first_seq, first_hash, last_seq, last_hash]})

    def _hash(self, fields: dict[str, object]) -> str:
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Compare hashes in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())
