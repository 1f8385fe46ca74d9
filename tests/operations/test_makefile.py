"""The commands that the README names."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOT, project_files

TARGETS = ["install", "up", "demo", "test", "check", "bench", "lock", "clean"]


def make(*arguments: str, folder: Path = ROOT) -> str:
    program = shutil.which("make")
    assert program is not None
    # Not as a part of the `make test` that may run us.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    answer = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_help_names_every_target_and_is_what_plain_make_prints() -> None:
    assert re.findall(r"(?m)^make (\w+)", make("help")) == TARGETS
    assert make() == make("help")


@pytest.mark.parametrize("target", ["up", "demo", "bench"])
def test_a_program_takes_the_place_of_the_shell_so_that_ctrl_c_reaches_it(target: str) -> None:
    last = make("--dry-run", target, "ARGS=--port 9000").splitlines()[-1]
    assert last.startswith("exec .venv/bin/")
    assert last.endswith("--port 9000")


def test_clean_keeps_the_data(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (".venv", ".cache", ".mcp-platform"):
        (tmp_path / name).mkdir()
    make("clean", folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mcp-platform", "Makefile"]


def test_scripts_can_be_run_and_stop_at_the_first_error() -> None:
    scripts = [path for path in project_files() if path.suffix == ".sh"] + [ROOT / ".ci" / "run"]
    for script in scripts:
        assert script.stat().st_mode & 0o111, script
        assert re.search(r"(?m)^set -\w*e", script.read_text()), script
