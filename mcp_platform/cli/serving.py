"""HTTP servers whose life their caller controls, and the signals that end a command."""

import asyncio
import errno
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

from mcp_platform.cli.corking import CorkedHttp
from mcp_platform.cli.failure import Failure

_FAREWELL_SECONDS = 2
IDLE_SECONDS = 75
"""How long an idle connection is kept: longer than clients and proxies keep theirs (httpx 5, aiohttp 15,
nginx and load balancers 60), for a request that is sent just as its server closes the connection is lost."""
_OPEN_FILES = 65_536
PING_INTERVAL = 20.0
"""Seconds between two looks at whether a WebSocket's peer is alive, and how long it may take to answer."""


class _Server(uvicorn.Server):
    """A server that leaves the signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def listening_socket(host: str, port: int, option: str) -> socket.socket:
    """Take a port before anything else is started.

    Raises:
        Failure: It is taken, or the address is not this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failure(f"port {port} is taken by another program; choose another with {option}") from None
        raise Failure(f"cannot listen on {host}:{port}: {error.strerror or error}") from None


def _allow_open_files() -> None:
    """Take as many open files as we may have: many systems begin with 1,024, which are few sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@asynccontextmanager
async def serving(app: Starlette, listener: socket.socket) -> AsyncIterator[None]:
    """Serve while the body runs; at the end finish what is under way, within a bound.

    What the application's lifespan raises at its start, this raises.
    """
    config = uvicorn.Config(
        app,
        # The lifespan is ours: uvicorn would log a traceback of what hinders it, and keep the error.
        lifespan="off",
        http=CorkedHttp,
        log_config=None,
        access_log=False,
        server_header=False,
        # Whom to believe about a client's address is a setting of ours: see client_address.
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=_FAREWELL_SECONDS,
        # The lighter of the two implementations, and without compression: each idle socket costs
        # memory, and there are thousands.
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=PING_INTERVAL,
        ws_ping_timeout=PING_INTERVAL,
    )
    server = _Server(config)
    _allow_open_files()
    async with app.router.lifespan_context(app):
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if running.done():
                    await running
                    raise Failure("the HTTP server did not start; its log lines say why")
                await asyncio.sleep(0.01)
            yield
        finally:
            # Streams that last would keep the server waiting, and be cut off in the end.
            getattr(app.state, "farewell", lambda: None)()
            server.should_exit = True
            await _ended(server, running)


async def _ended(server: uvicorn.Server, running: asyncio.Task[None]) -> None:
    """Wait until a server that was told to end has, and the requests with it that it cut off.

    uvicorn cancels those, and waits for none: to end, they give back what the application's parts have lent
    them, and these are closed next.
    """
    await running
    if cut_off := server.server_state.tasks:
        await asyncio.wait(cut_off, timeout=_FAREWELL_SECONDS)


def spare_collections() -> None:
    """Take all that is there by now out of the garbage collector's sight; called once, when all is ready.

    Modules and tables live as long as the process. To look at them again in each full collection stops
    every call for a quarter of a second. What requests make is nearly all freed without the collector: a
    look after 700 objects, as Python has it, falls into the middle of hundreds of calls in flight, finds
    nothing, and took half of their time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def run_until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until SIGINT or SIGTERM, which cancel the work wherever it is, also while it is starting."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    told = False

    def stop() -> None:
        nonlocal told
        # Once only: a second Ctrl-C must not interrupt the cleaning up, which is bounded.
        if not told:
            task.cancel()
        told = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not told:
            raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()
