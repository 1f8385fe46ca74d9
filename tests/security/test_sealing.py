"""What is sealed opens only with its key, for its purpose, and unchanged."""

import base64
import os

import pytest

from mcp_platform.security.keys import MasterKey
from mcp_platform.security.sealing import CannotUnseal, Sealer

OLD, NEW = MasterKey(os.urandom(32)), MasterKey(os.urandom(32))


def test_a_sealed_value_opens_for_its_purpose_and_shows_nothing_before() -> None:
    sealed = Sealer(NEW).seal(b"hunter2", "secret:1")
    assert "hunter2" not in sealed
    assert Sealer(NEW).unseal(sealed, "secret:1") == b"hunter2"


def test_the_same_value_is_sealed_differently_each_time() -> None:
    sealer = Sealer(NEW)
    assert sealer.seal(b"x", "p") != sealer.seal(b"x", "p")


def test_what_an_older_key_sealed_still_opens_and_is_known_as_old() -> None:
    sealed = Sealer(OLD).seal(b"x", "p")
    both = Sealer(NEW, OLD)
    assert both.unseal(sealed, "p") == b"x"
    assert not both.is_current(sealed)
    assert both.is_current(both.seal(b"x", "p"))


@pytest.mark.parametrize("purpose", ["secret:2", ""])
def test_a_value_does_not_open_for_another_purpose(purpose: str) -> None:
    with pytest.raises(CannotUnseal):
        Sealer(NEW).unseal(Sealer(NEW).seal(b"x", "secret:1"), purpose)


def test_a_value_of_an_unknown_key_says_which_key_is_missing() -> None:
    with pytest.raises(CannotUnseal, match="not known here"):
        Sealer(NEW).unseal(Sealer(OLD).seal(b"x", "p"), "p")


def test_a_changed_or_broken_value_does_not_open() -> None:
    version, key, text = Sealer(NEW).seal(b"x", "p").split(".")
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    changed = f"{version}.{key}.{base64.b64encode(data).decode()}"
    for broken in (changed, "", "a.b", f"v1.{key}.!!", f"v1.{key}.AA==", "x" * 100):
        with pytest.raises(CannotUnseal):
            Sealer(NEW).unseal(broken, "p")
