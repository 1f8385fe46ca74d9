"""The commands, their options, and how they fail: one or two lines and status 2, no traceback."""

import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from pydantic import ValidationError

from mcp_platform.cli import parts as part_commands
from mcp_platform.cli.demo import run_demo
from mcp_platform.cli.embedded import run_embedded
from mcp_platform.cli.failure import Failure
from mcp_platform.cli.status import show_status
from mcp_platform.cli.temporal_program import TemporalUnavailable
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
    settings = _settings(
        data_dir=data_dir,
        api={"host": host, "port": port},
        temporal={"port": temporal_port, "ui_port": temporal_ui_port},
        logs=None if json else {"format": "console", "level": "warning"},
    )
    _run(run_embedded(settings, as_json=json))


@app.command()
def demo(
    data_dir: DataDir = None,
    url: Annotated[str | None, typer.Option(help="The API, if not the one of the data directory")] = None,
    username: Annotated[str | None, typer.Option(help="Who signs in")] = None,
) -> None:
    """Show the platform at work, on a real MCP server, in under a minute."""
    settings = _settings(data_dir=data_dir)
    _run(run_demo(settings, url, username))


@app.command()
def status(data_dir: DataDir = None) -> None:
    """Show whether the platform runs, how its parts are, and what memory they take together."""
    _run(show_status(_settings(data_dir=data_dir)))


@app.command()
def api() -> None:
    """Serve the API alone (production)."""
    _run(part_commands.serve_api(_settings()))


@app.command()
def gateway() -> None:
    """Serve the gateway alone (production)."""
    _run(part_commands.serve_gateway(_settings()))


@app.command()
def worker() -> None:
    """Run the workers alone (production)."""
    _run(part_commands.serve_worker(_settings()))


@app.command()
def migrate() -> None:
    """Bring the relational store's schema up to date."""
    _run(part_commands.migrate_schema(_settings()))


@app.command()
def setup() -> None:
    """Prepare Temporal's namespace and the first administrator; may be repeated."""
    _run(part_commands.set_up(_settings()))


def main() -> None:
    """Run the command line, and leave without the SDK's crash at interpreter exit."""
    try:
        code = app(standalone_mode=False)
    except (Failure, TemporalUnavailable, UnusableKey) as failure:
        print(f"mcp-platform: {failure}", file=sys.stderr)
        code = 2
    except typer.Exit as leave:
        code = leave.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except typer.TyperException as error:
        error.show()
        code = error.exit_code
    sys.stdout.flush()
    sys.stderr.flush()
    # temporalio's runtime may abort while the interpreter is torn down (sdk-python#300).
    os._exit(code or 0)


def _settings(**given: Any) -> Settings:
    """Give settings from the environment, with the options of the command line on top."""
    try:
        base = Settings()
        changes = {}
        for name, value in given.items():
            if isinstance(value, dict):
                told = {key: item for key, item in value.items() if item is not None}
                changes[name] = getattr(base, name).model_copy(update=told)
            elif value is not None:
                changes[name] = value
        settings = base.model_copy(update=changes)
    except ValidationError as error:
        raise Failure(
            "; ".join(
                f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}" for item in error.errors()
            )
        ) from None
    configure_logs(settings.logs)
    return settings


def _run(work: Coroutine[Any, Any, int | None]) -> None:
    code = uvloop.run(work)
    if code:
        raise typer.Exit(code)
