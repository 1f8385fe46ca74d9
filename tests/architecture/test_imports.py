"""Who may import whom, and what an import may load."""

import json
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.architecture.source_tree import ROOT

OURS = [
    "activities",
    "api",
    "gateway",
    "mcp_platform",
    "runner",
    "storage",
    "temporal",
    "tests",
    "worker",
    "workflows",
]

# Imports every module of a package, but for the clients that workers inject, and tells what is loaded.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.startswith("activities.clients"):
        importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_no_other_distribution_ships_a_package_named_like_one_of_ours() -> None:
    owners = packages_distributions()
    strangers = {name: set(owners.get(name, [])) - {"mcp-platform"} for name in OURS}
    assert {name: found for name, found in strangers.items() if found} == {}


def test_there_is_no_top_level_package_that_would_shadow_the_sdk() -> None:
    assert not (ROOT / "mcp").exists()
    assert not (ROOT / "mcp.py").exists()


def test_imports_go_downwards_only() -> None:
    answer = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("package", ["workflows", "activities"])
def test_importing_a_package_loads_no_library_that_does_io(package: str) -> None:
    answer = run(sys.executable, "-c", IMPORT_ALL, package)
    assert answer.returncode == 0, answer.stderr
    loaded = set(json.loads(answer.stdout))
    assert (
        loaded & {"sqlalchemy", "docker", "motor", "pymongo", "redis", "aiohttp", "fastapi", "mcp"} == set()
    )
