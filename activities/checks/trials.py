"""Trying a server: it is started, asked what it offers, and removed.

What is tried may be a model's invention, or a stranger's: it gets placeholders for secrets, runs as a
process only where who wrote it may run commands anyway, and else in a container that reaches nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

import structlog
from pydantic import ValidationError

from activities.checks.fetching import could_not_fetch
from activities.checks.folders import trial_folder, trial_home
from activities.checks.placeholders import placeholders, placeholders_of, with_placeholders
from activities.checks.sandboxes import NotTried, Sandbox, Sandboxes
from activities.checks.talk import ApiTools, CredentialsAsked, Seen, Subject, Talk, TrialFault
from activities.checks.turns import Turns
from activities.drivers import DriverUnavailable, ReplicaDriver, ReplicaFault, ReplicaSpec, RunningReplica
from activities.finishing import to_its_end
from mcp_platform.build_sources import command_in_image
from mcp_platform.contracts.checks import TrialOrder, TrialOutcome, TrialReport
from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.mcps import McpConfig, ServerConfig
from mcp_platform.names import Collection
from mcp_platform.variables import references

if TYPE_CHECKING:
    from mcp_platform.check_settings import TrialSettings
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

_NAMESPACE: Final = UUID("5b7d0b36-8f0c-4f4e-9c0e-6a4d0d9d7c11")
_ASKED_AGAIN: Final = 0.2
_MEASURED_EVERY: Final = 1.0
_LAST_WORD: Final = 3.0
"""Seconds for which a server that failed may still be seen to have ended, and say why."""
_LONGEST_REMOTE: Final = 30.0
_LEAST_CPU: Final = 30.0
_SHOWN_LINES: Final = 20
_SHOWN_CHARACTERS: Final = 500
_NETWORK: Final = "_trials"
"""No environment that users name has a name that begins so: those of trials meet nobody else."""


class Trials:
    """Tries servers.

    Args:
        stores: Where the drafts are.
        drivers: What may run them.
        talk: Asks them.
        settings: How many, and how large.
    """

    def __init__(
        self, stores: Stores, drivers: Mapping[Driver, ReplicaDriver], talk: Talk, settings: TrialSettings
    ) -> None:
        self._stores = stores
        self._drivers = drivers
        self._sandboxes = Sandboxes(drivers)
        self._talk = talk
        self._settings = settings
        self._turns = Turns(stores.trials, settings.at_once)

    async def carry_out(self, order: TrialOrder) -> TrialReport:
        """Try one server; nothing of it runs any more when this returns."""
        began = time.monotonic()
        try:
            config, server = await self._draft(order)
            report = await self._tried(order, config, server)
        except NotTried as reason:
            report = TrialReport(
                outcome=TrialOutcome.NOT_TRIED, reason=str(reason), needs_image=reason.needs_image
            )
        report = report.model_copy(update={"seconds": round(time.monotonic() - began, 3)})
        logger.info("server_tried", task_id=order.task_id, outcome=report.outcome, driver=report.driver)
        return report

    async def _draft(self, order: TrialOrder) -> tuple[McpConfig, ServerConfig]:
        body = await self._stores.documents.get(Collection.DRAFTS, order.draft_key)
        if body is None:
            raise NotTried(f"the draft {order.draft_key} is gone")
        try:
            config = McpConfig.model_validate(body)
            return config, config.server(order.server)
        except ValidationError as invalid:
            first = invalid.errors()[0]
            place = ".".join(str(step) for step in first["loc"])
            raise NotTried(f"the configuration is not valid: {place}: {first['msg']}") from None
        except ValueError as unknown:
            raise NotTried(str(unknown)) from None

    async def _tried(self, order: TrialOrder, config: McpConfig, server: ServerConfig) -> TrialReport:
        names = placeholders_of(server)
        replica_id = uuid5(_NAMESPACE, f"{order.task_id}/{order.draft_key}/{server.name}")
        driver: Driver | None = None
        tail: list[str] = []
        try:
            if server.kind == "url":
                driver = Driver.REMOTE
                async with self._turns.taken(order.owner_id, replica_id):
                    seen = await self._ask_remote(order, config, server)
            else:
                sandbox = await self._sandboxes.of(order, server)
                driver = sandbox.kind
                async with (
                    self._turns.taken(order.owner_id, replica_id),
                    trial_folder(replica_id) as folder,
                ):
                    spec = _spec(order, server, sandbox, replica_id, folder)
                    seen = await self._start_and_ask(order, sandbox, spec, tail)
        except CredentialsAsked as asked:
            return _report(TrialOutcome.NOT_TRIED, str(asked), driver, names, tail)
        except (TrialFault, ReplicaFault) as fault:
            if isinstance(fault, DriverUnavailable):
                raise NotTried(str(fault)) from None
            tail = getattr(fault, "stderr_tail", tail)
            if could_not_fetch(server, tail):
                reason = "its package could not be fetched here: its registry does not answer"
                return _report(TrialOutcome.NOT_TRIED, reason, driver, names, tail)
            reason = str(fault)
            if names:
                reason += f" ({', '.join(names)} stood for nothing in the trial)"
            return _report(TrialOutcome.FAILED, reason, driver, names, tail)
        return _passed(order, seen, driver, names, tail)

    async def _ask_remote(self, order: TrialOrder, config: McpConfig, server: ServerConfig) -> Seen:
        url = server.url or ""
        if references(url):
            raise NotTried(f"its address refers to {', '.join(sorted(references(url)))}, which is not known")
        tried = with_placeholders(server, "/tmp")
        api = None
        if server.is_rest:
            tools = [tool for tool in config.tools if tool.request is not None]
            api = ApiTools(tools, placeholders(config.tools), open=tried.headers == server.headers)
        subject = Subject(
            url, url.partition("?")[0], tried.headers, remote=True, trusted=order.trusted, api=api
        )
        return await self._talk.look(subject, order.call, min(order.patience, _LONGEST_REMOTE))

    async def _start_and_ask(
        self, order: TrialOrder, sandbox: Sandbox, spec: ReplicaSpec, tail: list[str]
    ) -> Seen:
        try:
            running = await sandbox.driver.ensure_running(spec)
            try:
                return await self._ask_started(order, running)
            finally:
                tail += running.stderr_tail
        finally:
            # However this ends: a cancelled trial leaves nothing either.
            await to_its_end(sandbox.driver.ensure_absent(spec.replica_id))

    async def _ask_started(self, order: TrialOrder, running: RunningReplica) -> Seen:
        subject = Subject(running.url, running.shown_url, running.headers, trusted=order.trusted)
        asking = asyncio.create_task(self._until_answered(order, subject))
        exited = asyncio.create_task(running.exited())
        greedy = asyncio.create_task(self._greedy(order, running))
        try:
            await asyncio.wait({asking, exited, greedy}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and asking.exception() is None:
                return asking.result()
            if not greedy.done():
                # What ran it may be about to tell a better reason.
                await asyncio.wait({exited}, timeout=_LAST_WORD)
            for better in (greedy, exited):
                if better.done():
                    raise TrialFault(better.result())
            return asking.result()
        finally:
            for task in (asking, exited, greedy):
                task.cancel()
            await asyncio.gather(asking, exited, greedy, return_exceptions=True)

    async def _until_answered(self, order: TrialOrder, subject: Subject) -> Seen:
        loop = asyncio.get_running_loop()
        until = loop.time() + order.patience
        while True:
            try:
                return await self._talk.look(subject, order.call, max(until - loop.time(), 0.1))
            except TrialFault as fault:
                if not fault.passing:
                    raise
                if loop.time() >= until:
                    raise TrialFault(f"it did not answer within {order.patience:g} s: {fault}") from None
            await asyncio.sleep(_ASKED_AGAIN)

    async def _greedy(self, order: TrialOrder, running: RunningReplica) -> str:
        """Return, with the reason, once it uses more than a trial may."""
        most_cpu = max(order.patience, _LEAST_CPU)
        while True:
            usage = await running.usage()
            if usage is not None and usage.memory_bytes > self._settings.memory_bytes:
                return f"it used more than {self._settings.memory_bytes // 2**20} MiB of memory"
            if usage is not None and usage.cpu_seconds > most_cpu:
                return f"it used more than {most_cpu:g} s of CPU time"
            await asyncio.sleep(_MEASURED_EVERY)


def _spec(
    order: TrialOrder, server: ServerConfig, sandbox: Sandbox, replica_id: UUID, folder: str
) -> ReplicaSpec:
    process = sandbox.kind is Driver.PROCESS
    tried = with_placeholders(server, folder if process else "/tmp")
    if process:
        own = {"cwd": tried.cwd or folder, "env": trial_home(folder) | tried.env}
        tried = tried.model_copy(update=own)
    if not process and tried.command is not None:
        command, *args = command_in_image(tried)
        tried = tried.model_copy(update={"command": command, "args": args})
    return ReplicaSpec(
        replica_id=replica_id,
        server=tried,
        patience=order.patience,
        slug="trial",
        environment=_NETWORK,
        # A call from our own catalogue may need the network; to list tools none does.
        egress=order.trusted and order.call is not None,
        image=order.image,
    )


def _passed(
    order: TrialOrder, seen: Seen, driver: Driver | None, names: list[str], tail: list[str]
) -> TrialReport:
    outcome, reason = TrialOutcome.PASSED, None
    listed = {tool["name"] for tool in seen.tools}
    if seen.left_out:
        reason = f"{seen.left_out} of its tools are too large, too many or malformed, and are not shown"
    if order.call is not None and order.call.tool not in listed and not seen.left_out:
        outcome, reason = TrialOutcome.FAILED, f"it lists no tool {order.call.tool}"
    elif seen.call is not None and not seen.call.ok:
        outcome, reason = (
            TrialOutcome.FAILED,
            f"the call of {seen.call.tool} failed: {seen.call.answer[:200]}",
        )
    elif order.call is not None and seen.call is None:
        reason = f"{order.call.tool} was not called: nothing says that it only reads"
    return _report(outcome, reason, driver, names, tail).model_copy(
        update={"era": seen.era, "server_info": seen.server_info, "tools": seen.tools, "call": seen.call}
    )


def _report(
    outcome: TrialOutcome, reason: str | None, driver: Driver | None, names: list[str], tail: list[str]
) -> TrialReport:
    return TrialReport(
        outcome=outcome,
        reason=reason,
        driver=driver,
        placeholders=names,
        stderr_tail=[_kept(line) for line in tail[-_SHOWN_LINES:]],
    )


def _kept(line: str) -> str:
    return line[:_SHOWN_CHARACTERS].encode(errors="replace").decode()
