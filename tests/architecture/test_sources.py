"""What holds for every source file."""

import ast
import re

from tests.architecture.source_tree import ROOT, modules, project_files

LONGEST_MODULE = 400
LONGEST_FUNCTION = 40

# Put together from halves, so that this file does not match itself.
MACHINE_PATH = re.compile("(?<![\\w.}/-])/" + r"(?:root|home/\w+|Users/\w+)(?:/|\b)")
REGISTRIES = [
    first + second
    for first, second in (
        ("pypi", ".org"),
        ("files.python", "hosted.org"),
        ("registry.", "npmjs.org"),
        ("proxy.", "golang.org"),
        ("repo.maven.", "apache.org"),
        ("repo1.", "maven.org"),
        ("deb.", "debian.org"),
        ("ghcr", ".io/"),
        ("quay", ".io/"),
    )
]


_ASKED_ABOUT = {"mcp_platform/check_settings.py", "docs/configuration.md"}
"""Where the public registries are named that users' packages are looked up in."""


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_no_function_of_the_product_is_longer_than_40_lines() -> None:
    long: list[str] = []
    for path in modules():
        if path.is_relative_to(ROOT / "tests"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines")
    assert long == []


def test_no_file_names_a_path_of_one_machine_or_a_registry() -> None:
    found: list[str] = []
    for path in project_files():
        registries = [] if str(path.relative_to(ROOT)) in _ASKED_ABOUT else REGISTRIES
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if MACHINE_PATH.search(line) or any(registry in line for registry in registries):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []
