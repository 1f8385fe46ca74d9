"""What to build: Dockerfiles and what they copy. Pure functions, but for reading files."""

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tomllib import TOMLDecodeError, loads
from typing import Final

import mcp_platform
from activities.building import BuildFailed, ImagePlan, Step
from mcp_platform.build_sources import npm_name
from mcp_platform.contracts.images import BuildSource, SourceKind
from mcp_platform.names import INSTANCE_LABEL

PART_LABEL: Final = "mcp-platform.build"
"""Label of images that the platform built: the slug that they are for."""
STAGE_LABEL: Final = "mcp-platform.stage"
"""Label of what a build makes and runs on its way, but not of what comes of it."""
RUNNER_PART: Final = "-runner-"
"""Its value for the image with the runner alone; no slug looks so to people."""

_PACKAGES: Final = Path(mcp_platform.__file__).parent.parent
_RUNNER_SOURCES: Final = (
    "mcp_platform/__init__.py",
    "mcp_platform/duplex.py",
    "mcp_platform/envelope.py",
    "mcp_platform/wire.py",
    "runner/*.py",
)
"""All that `python -m runner` imports of the platform."""
_RUNNER_NEEDS: Final = ("aiohttp", "orjson")
_LARGEST_MARKER: Final = 1_048_576
"""Bytes of a file that says how a repository is installed."""
_CERTIFICATES: Final = "/build/ca.pem"
_TRUSTING: Final = (
    "PIP_CERT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
)
"""Variables by which the programs of a build are told what to trust."""
_QUIET: Final = (
    "PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off"
    " PIP_ROOT_USER_ACTION=ignore npm_config_audit=false npm_config_fund=false"
    " npm_config_update_notifier=false"
)
_ENVIRONMENT: Final = "RUN python3 -m venv --without-pip /opt/server"
_INSTALL: Final = "RUN /opt/runner/bin/pip --python /opt/server/bin/python install"
"""The server's environment is filled from outside, and so needs no pip of its own."""
_SOURCE: Final = "/opt/server/source"

_LINK: Final = """\
const fs = require("fs"), path = require("path");
fs.mkdirSync("/opt/server/bin", {recursive: true});
for (const name of process.argv.slice(2)) {
  const folder = path.join("/opt/server/node_modules", name);
  const bin = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8")).bin || {};
  const short = name.split("/").pop();
  const all = typeof bin === "string" ? {[short]: bin} : bin;
  const files = new Set(Object.values(all));
  const file = all[short] || (files.size === 1 ? [...files][0] : undefined);
  const link = path.join("/opt/server/bin", short);
  if (file && !fs.existsSync(link)) fs.symlinkSync(path.join(folder, file), link);
}
"""
"""Makes the one command of a package known by the package's name, as npx knows it."""


@dataclass(frozen=True)
class BuildSettings:
    """What the platform's settings say of builds."""

    instance: str
    user: str
    arguments: Mapping[str, str]
    certificates: bytes | None = None


@dataclass(frozen=True)
class Tree:
    """What the files of a repository tell of how they are installed."""

    requirements: bool
    project: bool
    package: bool
    locked: bool


def look_at(folder: Path) -> Tree:
    """Tell how what is in a folder is installed.

    Raises:
        BuildFailed: It is nothing that can be installed.
    """
    tree = Tree(
        requirements=_marks(folder / "requirements.txt"),
        project=_is_project(folder),
        package=_marks(folder / "package.json"),
        locked=_is_plain(folder / "package-lock.json") or _is_plain(folder / "npm-shrinkwrap.json"),
    )
    if not (tree.requirements or tree.project or tree.package):
        raise BuildFailed(
            "the repository has neither pyproject.toml, setup.py, requirements.txt nor package.json there;"
            " build.git.path names the folder of the server where it is not the root"
            " (links, and files of more than 1 MiB, do not count)"
        )
    return tree


def _is_plain(path: Path) -> bool:
    """Tell whether this is a file of the repository itself: a link may lead to any file of this machine."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _marks(path: Path) -> bool:
    return _is_plain(path) and path.lstat().st_size <= _LARGEST_MARKER


def _is_project(folder: Path) -> bool:
    if _marks(folder / "setup.py"):
        return True
    if not _marks(folder / "pyproject.toml"):
        return False
    try:
        described = loads((folder / "pyproject.toml").read_text())
    except (TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BuildFailed(f"pyproject.toml of the repository cannot be read: {error}") from None
    # Others only have settings of tools in it.
    return "project" in described or "build-system" in described


def needs_node(source: BuildSource, tree: Tree | None, command: list[str]) -> bool:
    """Tell whether the image needs Node.js."""
    if tree is None:
        return source.kind is SourceKind.NPM
    return tree.package and (not (tree.requirements or tree.project) or command[0] in {"node", "npm", "npx"})


def runner_plan(base: str, base_id: str, settings: BuildSettings) -> ImagePlan:
    """Plan the image that all servers on one base share: the base, with the runner beside it."""
    lines = _Lines()
    lines.stage(base, settings)
    lines.belong_to(RUNNER_PART)
    lines.add("RUN python3 -m venv /opt/runner", "Making the runner's environment")
    lines.add("COPY runner.txt /build/runner.txt")
    lines.add("RUN /opt/runner/bin/pip install -r /build/runner.txt", "Installing the runner")
    lines.add("COPY app /opt/runner/app")
    lines.add(
        "RUN /opt/runner/bin/python -m compileall -q /opt/runner/app && echo /opt/runner/app >"
        ' "$(/opt/runner/bin/python -c "import sysconfig; print(sysconfig.get_path(\'purelib\'))")/app.pth"'
    )
    lines.add(f"FROM {base}")
    lines.add(f'LABEL {INSTANCE_LABEL}="{settings.instance}" {PART_LABEL}="{RUNNER_PART}"')
    lines.add("COPY --from=build /opt/runner /opt/runner", "Putting the runner's image together")
    lines.add(
        f'ENV PATH="/opt/server/bin:/opt/server/node_modules/.bin:{_SOURCE}/node_modules/.bin:$PATH"'
        " HOME=/tmp PYTHONUNBUFFERED=1"
    )
    lines.add("WORKDIR /tmp")
    lines.add("EXPOSE 8000")
    lines.add(f"USER {settings.user}")
    # Isolated: neither the server's files nor its environment change what the runner imports.
    lines.add(f"ENTRYPOINT {json.dumps(['/opt/runner/bin/python', '-I', '-m', 'runner'])}")
    lines.add(f"CMD {json.dumps(['--host', '0.0.0.0', '--port', '8000'])}")
    files = {
        "runner.txt": _runner_requirements(),
        **{f"app/{name}": body for name, body in runner_files().items()},
    }
    return lines.plan("mcp-platform-runner", RUNNER_PART, settings, files, {}, base_id)


def server_plan(
    slug: str,
    source: BuildSource,
    runner: str,
    runner_id: str,
    settings: BuildSettings,
    checkout: Path | None = None,
    *,
    node: bool = False,
) -> ImagePlan:
    """Plan the image of one server, on top of the runner's.

    Args:
        slug: Whose it is.
        source: What to install.
        runner: The runner's image, by its tag.
        runner_id: The same by its id.
        settings: What holds for all builds.
        checkout: The files of the repository, where it is one.
        node: Whether those are installed by npm.
    """
    lines = _Lines()
    lines.stage(runner, settings)
    if not node and source.kind is not SourceKind.NPM:
        lines.add(_ENVIRONMENT, "Making the server's environment")
    # What stands before is the same for all servers, and so in the cache after the first.
    lines.belong_to(slug)
    folders: dict[str, Path] = {}
    if checkout is not None:
        folders["source"] = checkout
        (_install_node_source if node else _install_python_source)(lines, look_at(checkout))
    files = {} if checkout is not None else _install_packages(lines, source)
    lines.add(f"FROM {runner}")
    lines.add(f'LABEL {INSTANCE_LABEL}="{settings.instance}" {PART_LABEL}="{slug}"')
    lines.add("COPY --from=build /opt/server /opt/server", "Putting the server's image together")
    if checkout is not None:
        lines.add(f"WORKDIR {_SOURCE}")
    return lines.plan(f"mcp-platform/{slug}", slug, settings, files, folders, runner_id)


def _install_packages(lines: "_Lines", source: BuildSource) -> dict[str, bytes]:
    """Write how packages are installed; give the files that it takes."""
    if source.kind is SourceKind.NPM:
        _install_npm(lines, source.packages)
        return {"link.js": _LINK.encode(), "package.json": _package_json(source.packages)}
    lines.add("COPY requirements.txt /build/requirements.txt")
    lines.add(f"{_INSTALL} -r /build/requirements.txt", "Installing the server's packages")
    return {"requirements.txt": (source.requirements or "\n".join(source.packages) + "\n").encode()}


def _install_npm(lines: "_Lines", packages: list[str]) -> None:
    names = " ".join(npm_name(package) for package in packages)
    lines.add("COPY package.json /opt/server/package.json")
    lines.add("RUN cd /opt/server && npm install --omit=dev", "Installing the server's packages")
    lines.add("COPY link.js /build/link.js")
    lines.add(f"RUN node /build/link.js {names}")


def _install_node_source(lines: "_Lines", tree: Tree) -> None:
    lines.add(f"COPY source {_SOURCE}")
    lines.add(
        f"RUN cd {_SOURCE} && npm {'ci' if tree.locked else 'install'}",
        "Installing what the repository needs",
    )
    lines.add(f"RUN cd {_SOURCE} && npm run build --if-present", "Building the repository's code")
    lines.add(f"RUN cd {_SOURCE} && npm prune --omit=dev")


def _install_python_source(lines: "_Lines", tree: Tree) -> None:
    if tree.requirements:
        # Before the rest, so that another commit with the same needs finds this step in the cache.
        lines.add("COPY source/requirements.txt /build/requirements.txt")
        lines.add(f"{_INSTALL} -r /build/requirements.txt", "Installing what the repository needs")
    lines.add(f"COPY source {_SOURCE}")
    if tree.project:
        lines.add(f"{_INSTALL} {_SOURCE}", "Installing the repository's package")


def _package_json(packages: list[str]) -> bytes:
    wanted = {npm_name(each): each[len(npm_name(each)) + 1 :] or "latest" for each in packages}
    return json.dumps({"private": True, "dependencies": wanted}).encode()


def runner_files() -> dict[str, bytes]:
    """Read the source files that the runner consists of, by their path."""
    found = {path for pattern in _RUNNER_SOURCES for path in _PACKAGES.glob(pattern)}
    return {str(path.relative_to(_PACKAGES)): path.read_bytes() for path in sorted(found)}


def _runner_requirements() -> bytes:
    """Pin what the runner needs, and what that needs, to the versions that this platform runs with."""
    pinned: dict[str, str] = {}
    waiting = list(_RUNNER_NEEDS)
    while waiting:
        name = waiting.pop()
        if name in pinned:
            continue
        try:
            pinned[name] = version(name)
        except PackageNotFoundError:
            continue
        needed = [each for each in requires(name) or () if "extra ==" not in each]
        names = (re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0] for each in needed)
        waiting += [re.sub(r"[-_.]+", "-", name).lower() for name in names]
    return "".join(f"{name}=={number}\n" for name, number in sorted(pinned.items())).encode()


def percent_of(step: Step, begin: int, end: int) -> int:
    """Give how much is done when a step begins, of a build that goes from one percentage to another."""
    return begin + (end - begin) * (step.number - 1) // step.total


class _Lines:
    """A Dockerfile that is being written, with what each of its steps does in words."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._words: list[str] = []
        self._certificates: bytes | None = None

    def add(self, line: str, words: str | None = None) -> None:
        """Add a step; without words it belongs to what the one before does."""
        self._lines.append(line)
        self._words.append(words or (self._words[-1] if self._words else "Preparing"))

    def belong_to(self, part: str) -> None:
        """Mark what comes of this stage with whom it is for."""
        self.add(f'LABEL {PART_LABEL}="{part}"')

    def stage(self, base: str, settings: BuildSettings) -> None:
        """Begin the stage that may see arguments and certificates; nothing of it but files is taken over."""
        self.add(f"FROM {base} AS build", "Preparing")
        self.add("USER 0:0")
        self.add(f'LABEL {INSTANCE_LABEL}="{settings.instance}" {STAGE_LABEL}="build"')
        self.add(f"ENV {_QUIET}")
        if settings.certificates is not None:
            self._certificates = settings.certificates
            own = "/etc/ssl/certs/ca-certificates.crt"
            self.add("COPY extra-ca.pem /build/extra-ca.pem")
            self.add(f"RUN cat $(ls {own} 2>/dev/null) /build/extra-ca.pem > {_CERTIFICATES}")
            self.add("ENV " + " ".join(f"{name}={_CERTIFICATES}" for name in _TRUSTING))
        for name in sorted(settings.arguments):
            self.add(f"ARG {name}")

    def plan(
        self,
        repository: str,
        part: str,
        settings: BuildSettings,
        files: dict[str, bytes],
        folders: dict[str, Path],
        beneath: str,
    ) -> ImagePlan:
        """Give the plan, whose tag is made of all that the image depends on."""
        if self._certificates is not None:
            files = {**files, "extra-ca.pem": self._certificates}
        plan = ImagePlan(
            tag=repository,
            dockerfile="\n".join(self._lines) + "\n",
            files=files,
            folders=folders,
            arguments=settings.arguments,
            words=self._words,
            labels={INSTANCE_LABEL: settings.instance, PART_LABEL: part},
        )
        return replace(plan, tag=f"{repository}:{_digest(plan, beneath)}")


def _digest(plan: ImagePlan, beneath: str) -> str:
    """Tell contents apart: the Dockerfile, every file, and the image that it stands on."""
    digest = hashlib.sha256()

    def take(*parts: bytes) -> None:
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)

    take(beneath.encode(), plan.dockerfile.encode())
    for name, body in sorted(plan.files.items()):
        take(name.encode(), body)
    for name, folder in sorted(plan.folders.items()):
        for path in sorted(folder.rglob("*")):
            place = f"{name}/{path.relative_to(folder)}".encode(errors="surrogateescape")
            if path.is_symlink():
                take(b"link", place, str(path.readlink()).encode(errors="surrogateescape"))
            elif path.is_file():
                executable = b"x" if path.stat().st_mode & 0o100 else b"-"
                take(executable, place, path.read_bytes())
    return digest.hexdigest()[:20]
