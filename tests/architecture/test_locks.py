"""The lock files say the same as pyproject.toml, and hold hashes and no addresses."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.source_tree import ROOT

LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"]
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]+\])?==(?P<version>[^ ;\\]+)")


@dataclass
class Pin:
    """One locked package."""

    version: str
    hashes: int = 0
    direct: bool = False


def pins(lock: str) -> dict[str, Pin]:
    found: dict[str, Pin] = {}
    last = None
    for line in (ROOT / lock).read_text().splitlines():
        if match := PIN.match(line):
            last = found[canonicalize_name(match["name"])] = Pin(match["version"])
        elif last is not None:
            last.hashes += "--hash=sha256:" in line
            last.direct |= "mcp-platform (pyproject.toml)" in line
    return found


def declared(*extras: str) -> dict[str, Requirement]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project: dict[str, Any] = tomllib.load(file)["project"]
    texts = [*project["dependencies"]]
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    requirements = [Requirement(text) for text in texts]
    return {str(canonicalize_name(one.name)): one for one in requirements if one.name != "mcp-platform"}


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.lock", ["demo"]), ("requirements-dev.lock", ["demo", "dev"])]
)
def test_a_lock_pins_exactly_what_is_declared_in_a_version_that_fits(lock: str, extras: list[str]) -> None:
    locked, wanted = pins(lock), declared(*extras)
    assert {name for name, pin in locked.items() if pin.direct} == set(wanted)
    wrong = {
        name: locked[name].version
        for name, requirement in wanted.items()
        if not requirement.specifier.contains(locked[name].version, prereleases=True)
    }
    assert wrong == {}, "run `make lock`"


def test_the_development_lock_holds_the_versions_of_the_other() -> None:
    runtime, development = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: development[name].version for name in runtime} == {
        name: pin.version for name, pin in runtime.items()
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_none_an_address(lock: str) -> None:
    locked = pins(lock)
    assert locked
    assert [name for name, pin in locked.items() if not pin.hashes] == []
    text = (ROOT / lock).read_text()
    assert not re.search(r"https?://|--(?:extra-)?index-url|--find-links|\bfile:", text)
