"""Encryption of what is kept: AES-256-GCM under a key derived from the master key."""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mcp_platform.security.keys import MasterKey, load_master_key, load_previous_key
from mcp_platform.settings import Settings

_FORMAT = "v1"
_NONCE_BYTES = 12


class CannotUnseal(Exception):
    """A sealed value was made under another key, for another purpose, or was changed."""


class Sealer:
    """Seals and opens values.

    Args:
        key: What values are sealed under.
        older: Keys that were in use before; what they sealed can still be opened.
    """

    def __init__(self, key: MasterKey, *older: MasterKey) -> None:
        self._newest = key_id(key)
        self._ciphers = {key_id(one): AESGCM(one.derive("seal")) for one in (key, *older)}

    def seal(self, value: bytes, purpose: str) -> str:
        """Seal a value. It opens only for the same purpose, such as `secret:<id>`: rows cannot be swapped."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._ciphers[self._newest].encrypt(nonce, value, purpose.encode())
        return f"{_FORMAT}.{self._newest}.{base64.b64encode(sealed).decode()}"

    def unseal(self, sealed: str, purpose: str) -> bytes:
        """Open a sealed value.

        Raises:
            CannotUnseal: No known key fits, the purpose is another one, or the value was changed.
        """
        try:
            version, key, text = sealed.split(".")
            data = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            raise CannotUnseal("this is no sealed value") from None
        if version != _FORMAT or key not in self._ciphers:
            raise CannotUnseal(f"sealed under the master key {key}, which is not known here")
        try:
            return self._ciphers[key].decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError):
            raise CannotUnseal("the sealed value was changed, or belongs elsewhere") from None

    def is_current(self, sealed: str) -> bool:
        """Tell whether a value is sealed under the newest key."""
        return sealed.startswith(f"{_FORMAT}.{self._newest}.")


def load_sealer(settings: Settings) -> Sealer:
    """Make a sealer of the master key, which also opens what the previous one sealed.

    Raises:
        UnusableKey: One of the keys is not 32 bytes in base64, or its file can be read by others.
    """
    previous = load_previous_key(settings)
    return Sealer(load_master_key(settings), *([previous] if previous else []))


def key_id(key: MasterKey) -> str:
    """Name a master key without telling anything of it."""
    return key.derive("key-id").hex()[:8]
