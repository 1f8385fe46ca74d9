"""The commands, their options, and how they fail: one or two lines and status 2, no traceback."""

import gc
import os
import sys
import time
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any

import typer
import uvloop
from pydantic import ValidationError
from pydantic_settings import SettingsError

from mcp_platform.cli.failure import Failure
from mcp_platform.cli.temporal_program import TemporalUnavailable
from mcp_platform.errors import PlatformError
from mcp_platform.logs import configure_logs
from mcp_platform.security.keys import UnusableKey
from mcp_platform.settings import Settings

app = typer.Typer(
    name="mcp-platform",
    help="Takes MCP servers from an idea to production, and keeps them there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataDir = Annotated[Path | None, typer.Option(help="Where keys, databases and logs lie", file_okay=False)]


deployments = typer.Typer(
    help="See what is deployed, read its logs, restart it. The credential is MCP_PLATFORM_API_KEY; without"
    " one, the administrator of the platform that runs on the data directory.",
    no_args_is_help=True,
)
app.add_typer(deployments, name="deployments")

Url = Annotated[
    str | None,
    typer.Option(help="The API, if not MCP_PLATFORM_URL or the one of the data directory"),
]
Deployment = Annotated[str, typer.Argument(help="Its slug or id")]


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address of the API")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the API and the gateway", min=1, max=65535)
    ] = None,
    data_dir: DataDir = None,
    temporal_port: Annotated[int | None, typer.Option(help="Port of Temporal", min=1, max=65535)] = None,
    temporal_ui_port: Annotated[
        int | None, typer.Option(help="Port of Temporal's web UI", min=1, max=65535)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON when ready")] = False,
) -> None:
    """Run everything in one process, with Temporal as a child, until Ctrl-C."""
    began = time.monotonic()
    settings = _settings(
        data_dir=data_dir,
        api={"host": host, "port": port},
        temporal={"port": temporal_port, "ui_port": temporal_ui_port},
        logs=None if json else {"format": "console", "level": "warning"},
    )
    _run("embedded:run_embedded", settings, as_json=json, began=began)


@app.command()
def demo(
    data_dir: DataDir = None,
    url: Annotated[str | None, typer.Option(help="The API, if not the one of the data directory")] = None,
    username: Annotated[str | None, typer.Option(help="Who signs in")] = None,
) -> None:
    """Show the platform at work, on a real MCP server, in under a minute."""
    _run("demo:run_demo", _settings(data_dir=data_dir), url, username)


@app.command()
def status(data_dir: DataDir = None) -> None:
    """Show whether the platform runs, how its parts are, and what memory they take together."""
    _run("status:show_status", _settings(data_dir=data_dir))


@app.command()
def api() -> None:
    """Serve the API alone (production)."""
    _run("parts:serve_api", _settings())


@app.command()
def gateway() -> None:
    """Serve the gateway alone (production)."""
    _run("parts:serve_gateway", _settings())


@app.command()
def worker() -> None:
    """Run the workers alone (production)."""
    _run("parts:serve_worker", _settings())


@app.command()
def migrate() -> None:
    """Bring the relational store's schema up to date."""
    _run("parts:migrate_schema", _settings())


@app.command()
def setup() -> None:
    """Prepare Temporal's namespace and the first administrator; may be repeated."""
    _run("parts:set_up", _settings())


@app.command()
def verify_audit(
    data_dir: DataDir = None,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON")] = False,
) -> None:
    """Check that nobody changed, removed or added entries of the audit log; 1 if somebody did."""
    _run("verify_audit:verify_audit", _settings(data_dir=data_dir), as_json=json)


@app.command(name="rotate-key")
def rotate_key(data_dir: DataDir = None) -> None:
    """Change the master key and seal every secret anew; may be interrupted and repeated."""
    _run("rotate_key:rotate_key", _settings(data_dir=data_dir))


@deployments.command(name="list")
def list_deployments(
    url: Url = None,
    data_dir: DataDir = None,
    everything: Annotated[bool, typer.Option("--all", help="Stopped ones, too")] = False,
    json: Annotated[bool, typer.Option("--json", help="A list in JSON")] = False,
) -> None:
    """List deployments, the newest first."""
    _run("deployments:list_deployments", _settings(data_dir=data_dir), url, everything, as_json=json)


@deployments.command()
def describe(
    deployment: Deployment,
    url: Url = None,
    data_dir: DataDir = None,
    json: Annotated[bool, typer.Option("--json", help="All of it in JSON")] = False,
) -> None:
    """Show how one deployment is, and why; 1 if it is not well."""
    _run("deployments:describe_deployment", _settings(data_dir=data_dir), url, deployment, as_json=json)


@deployments.command()
def logs(
    deployment: Deployment,
    url: Url = None,
    data_dir: DataDir = None,
    replica: Annotated[str | None, typer.Option(help="A replica's place, such as 0, or its id")] = None,
    level: Annotated[str | None, typer.Option(help="The least: debug, info, warning or error")] = None,
    since: Annotated[str | None, typer.Option(help="A point in time, or how long ago: 15m, 2h, 7d")] = None,
    search: Annotated[str | None, typer.Option(help="A text, in whatever case")] = None,
    limit: Annotated[int, typer.Option(help="How many lines of the past", min=1, max=5000)] = 200,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it is stopped")] = False,
    json: Annotated[bool, typer.Option("--json", help="Each line in JSON")] = False,
) -> None:
    """Show what the replicas wrote, to its owner, the author of its MCP, and who has deployments:all."""
    asked = {"replica": replica, "level": level, "since": since, "search": search}
    settings = _settings(data_dir=data_dir)
    try:
        _run("deployment_logs:show_logs", settings, url, deployment, asked, limit, follow, as_json=json)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@deployments.command()
def restart(
    deployment: Deployment,
    url: Url = None,
    data_dir: DataDir = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is done; 1 if it failed")] = False,
    timeout: Annotated[float, typer.Option(help="How many seconds to wait at most", min=1)] = 600,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON")] = False,
) -> None:
    """Replace every replica by a new one, one after the other, without a gap."""
    settings = _settings(data_dir=data_dir)
    _run("deployments:restart_deployment", settings, url, deployment, wait, timeout, as_json=json)


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def runner() -> None:
    """Serve one stdio MCP server over HTTP; its own options: mcp-platform runner --help."""
    # Not from the context: that drops the `--` which keeps the server's options from the runner's.
    sys.argv = ["mcp-platform runner", *sys.argv[2:]]
    raise typer.Exit(resolve_name("runner.__main__:main")())


def main() -> None:
    """Run the command line, and leave without the SDK's crash at interpreter exit."""
    code: object = 0
    try:
        app()
    except SystemExit as leave:
        code = leave.code
    except (Failure, TemporalUnavailable, UnusableKey, PlatformError) as failure:
        print(f"mcp-platform: {failure}", file=sys.stderr)
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    # temporalio's runtime may abort while the interpreter is torn down (sdk-python#300).
    os._exit(code if isinstance(code, int) else bool(code))


def _settings(**given: Any) -> Settings:
    """Give settings from the environment, with the options of the command line on top."""
    try:
        base = Settings()
    except ValidationError as error:
        raise Failure("; ".join(_problem(item["loc"], item["msg"]) for item in error.errors())) from None
    except SettingsError as error:
        raise Failure(f"{error}; lists and groups are given as JSON") from None
    changes = {}
    for name, value in given.items():
        if isinstance(value, dict):
            told = {key: item for key, item in value.items() if item is not None}
            changes[name] = getattr(base, name).model_copy(update=told)
        elif value is not None:
            changes[name] = value
    settings = base.model_copy(update=changes)
    configure_logs(settings.logs)
    return settings


def _problem(place: tuple[int | str, ...], message: str) -> str:
    """Say what is wrong with a setting, under the name by which it is set."""
    said = message.removeprefix("Value error, ")
    return f"MCP_PLATFORM_{'__'.join(str(step) for step in place).upper()}: {said}" if place else said


def _run(work: str, *given: Any, **named: Any) -> None:
    """Run a coroutine of a module beside this one.

    The module is loaded only now: all commands' modules together take seconds. What is loaded stays:
    to look for garbage in it again and again would take a tenth of that time.
    """
    gc.disable()
    try:
        command = resolve_name(f"mcp_platform.cli.{work}")
    finally:
        gc.enable()
    code = uvloop.run(command(*given, **named))
    if code:
        raise typer.Exit(code)
