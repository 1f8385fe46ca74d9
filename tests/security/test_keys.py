"""The master key and what is derived from it."""

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mcp_platform.security.keys import MasterKey, UnusableKey, load_master_key, write_secret_file
from mcp_platform.settings import SecuritySettings, Settings


def settings(folder: Path, key: str | None = None) -> Settings:
    """Give embedded settings, with a master key or without."""
    return Settings(
        data_dir=folder, security=SecuritySettings.model_validate({"master_key": key} if key else {})
    )


def test_embedded_mode_makes_a_key_that_only_its_owner_can_read_and_keeps_it(tmp_path: Path) -> None:
    first = load_master_key(settings(tmp_path))
    path = tmp_path / "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    assert load_master_key(settings(tmp_path)).derive("x") == first.derive("x")
    assert [found.name for found in tmp_path.iterdir()] == ["master.key"]


def test_each_installation_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = set()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        keys.add(load_master_key(settings(tmp_path / name)).derive("x"))
    assert len(keys) == 2


def test_parts_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_master_key(settings(tmp_path)).derive("x"), range(32)))
    assert len(keys) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o601], ids=oct)
def test_a_key_file_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    load_master_key(settings(tmp_path))
    path = tmp_path / "master.key"
    path.chmod(mode)
    with pytest.raises(UnusableKey, match=f"chmod 600 {path}"):
        load_master_key(settings(tmp_path))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("no base64 at all!", "not base64"),
        (base64.b64encode(b"x" * 31).decode(), "31 bytes, not 32"),
        (base64.b64encode(b"x" * 64).decode(), "64 bytes, not 32"),
    ],
    ids=["text", "short", "long"],
)
@pytest.mark.parametrize("place", ["settings", "file"])
def test_a_key_that_cannot_be_used_is_refused_and_not_shown(
    tmp_path: Path, key: str, says: str, place: str
) -> None:
    if place == "file":
        write_secret_file(tmp_path / "master.key", key)
    with pytest.raises(UnusableKey, match=says) as refused:
        load_master_key(settings(tmp_path, key if place == "settings" else None))
    assert "openssl rand -base64 32" in str(refused.value)
    assert key not in str(refused.value)


def test_a_key_from_the_settings_leaves_no_file(tmp_path: Path) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    assert load_master_key(settings(tmp_path, f"{key}\n")).derive("jwt") == MasterKey(
        bytes(range(32))
    ).derive("jwt")
    assert list(tmp_path.iterdir()) == []


def test_each_purpose_has_a_key_of_its_own() -> None:
    key = MasterKey(bytes(32))
    assert key.derive("jwt") == key.derive("jwt")
    derived = {key.derive("jwt"), key.derive("secrets"), key.derive(""), bytes(32)}
    assert len(derived) == 4
    assert all(len(found) == 32 for found in derived)


def test_keys_are_derived_as_rfc_5869_says() -> None:
    # HKDF-SHA256 without salt of 32 zero bytes, info "jwt"; computed by OpenSSL 3's kdf command.
    expected = "454f69879f5762dab056a87b557e17e891a01ba57ec0ee7a4eafbf66f3543310"
    assert MasterKey(bytes(32)).derive("jwt").hex() == expected


def test_the_first_writer_of_a_secret_file_wins(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert write_secret_file(path, "first") is True
    assert write_secret_file(path, "second") is False
    assert path.read_text() == "first"
    assert [found.name for found in tmp_path.iterdir()] == ["secret"]
