"""The master key, and the keys derived from it: one secret to keep, none used for two purposes."""

import base64
import binascii
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mcp_platform.settings import Settings

KEY_BYTES = 32
KEY_FILE = "master.key"
PREVIOUS_KEY_FILE = "master.key.previous"


class UnusableKey(ValueError):
    """The master key cannot be used; the message says why and what to do."""


class MasterKey:
    """Derives a key for each purpose by HKDF-SHA256 (RFC 5869)."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise UnusableKey(
                f"the master key has {len(secret)} bytes, not {KEY_BYTES}: openssl rand -base64 32"
            )
        self._secret = secret

    def derive(self, purpose: str) -> bytes:
        """Thirty-two bytes that belong to this purpose alone."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(self._secret)


def load_master_key(settings: Settings) -> MasterKey:
    """Read the master key from the settings; in embedded mode else from the data directory, made if absent.

    Raises:
        UnusableKey: The key is not 32 bytes in base64, or its file can be read by others.
    """
    if settings.security.master_key:
        return MasterKey(_decode(settings.security.master_key.get_secret_value()))
    return MasterKey(_decode(_read_or_make(settings.data_dir / KEY_FILE)))


def load_previous_key(settings: Settings) -> MasterKey | None:
    """Read the key that was in use before a rotation which is not finished yet.

    Raises:
        UnusableKey: The key is not 32 bytes in base64, or its file can be read by others.
    """
    if settings.security.previous_master_key:
        return MasterKey(_decode(settings.security.previous_master_key.get_secret_value()))
    path = settings.data_dir / PREVIOUS_KEY_FILE
    if settings.security.master_key or not path.exists():
        return None
    return MasterKey(_decode(_read_or_make(path)))


def begin_rotation(data_dir: Path) -> bool:
    """Put a new master key file in the place of the present one, which is kept beside it.

    False if an earlier rotation has done so and is not finished. A power cut leaves the old state, the
    new one, or the old one with its copy, from which this goes on.
    """
    path, previous = data_dir / KEY_FILE, data_dir / PREVIOUS_KEY_FILE
    present = _read_or_make(path)
    if not write_secret_file(previous, present) and _decode(_read_or_make(previous)) != _decode(present):
        return False
    draft = data_dir / f".{KEY_FILE}.{secrets.token_hex(4)}"
    write_secret_file(draft, _new_key())
    draft.replace(path)
    _sync_folder(data_dir)
    return True


def finish_rotation(data_dir: Path) -> None:
    """Remove the previous key's file; nothing is sealed under that key any more."""
    (data_dir / PREVIOUS_KEY_FILE).unlink(missing_ok=True)
    _sync_folder(data_dir)


def write_secret_file(path: Path, text: str) -> bool:
    """Write a file that only its owner can read; False if another writer was first.

    The file appears under its name only when it is whole and on disk: a power cut leaves the old
    state or the new one, never an empty key.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        _sync_folder(path.parent)
        return True
    finally:
        draft.unlink()


def _sync_folder(path: Path) -> None:
    """Let names that appeared or went survive a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n"


def _read_or_make(path: Path) -> str:
    if not path.exists():
        write_secret_file(path, _new_key())
    if path.stat().st_mode & 0o077:
        raise UnusableKey(f"{path} can be read by others; run: chmod 600 {path}")
    return path.read_text()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        raise UnusableKey("the master key is not base64; make one with: openssl rand -base64 32") from None
