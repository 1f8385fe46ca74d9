"""The connection to a Docker engine.

What asks and answers goes through the SDK, which blocks: in a few threads of its own, so that an
engine that hangs holds up nothing else. What streams (events, logs, pulls) is read from the engine's
HTTP API by aiohttp: a hundred replicas' logs are then a hundred sockets in the event loop rather than
a hundred threads, each is read only as fast as its lines are kept, and each can be cancelled.
"""

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
from docker import DockerClient
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig
from requests.exceptions import RequestException

from activities.drivers import DriverUnavailable, ReplicaFault
from activities.finishing import to_its_end
from mcp_platform.docker_settings import DockerSettings

T = TypeVar("T")

_THREADS: Final = 8
_API: Final = "1.41"
"""Docker 20.10's, which every later engine speaks too."""


@dataclass(frozen=True)
class Capacity:
    """What the engine's machine has."""

    cpus: int
    memory_bytes: int
    architecture: str
    node_id: str
    """Which node of a swarm it is; empty where it is in none."""


class DockerEngine:
    """One engine, connected to when it is first asked.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: DockerSettings) -> None:
        self.settings = settings
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")
        self._client: DockerClient | None = None
        self._connecting = Lock()
        self._http: aiohttp.ClientSession | None = None
        self._capacity: Capacity | None = None

    async def call(self, ask: Callable[[DockerClient], T]) -> T:
        """Ask something in a thread. Who is cancelled waits for the answer: nothing goes on unseen.

        Raises:
            DriverUnavailable: The engine cannot be reached, or does not answer in time.
            ReplicaFault: It refused; the message says why.
        """
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, ask)
        return await to_its_end(asked)

    async def capacity(self) -> Capacity:
        """Tell what the engine's machine has, as it was when it was last looked at."""
        return self._capacity or await self.look()

    async def look(self) -> Capacity:
        """Ask the engine what its machine has: it answers, if it is there."""
        info = await self.call(lambda client: client.info())
        node_id = str((info.get("Swarm") or {}).get("NodeID") or "")
        self._capacity = Capacity(info["NCPU"], info["MemTotal"], info["Architecture"], node_id)
        return self._capacity

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        data: IO[bytes] | None = None,
        silence: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open an answer that comes little by little.

        Args:
            path: What is asked for, without the API's version.
            query: The parameters.
            method: How it is asked for.
            headers: Further headers.
            data: What is sent along.
            silence: Seconds without a byte after which `TimeoutError` is raised; never unless given.

        Raises:
            DriverUnavailable: The engine cannot be reached, or went away.
            LookupError: It does not know what was asked for.
            ReplicaFault: It refused.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.settings.timeout, sock_read=silence)
        try:
            async with self._session().request(
                method, f"{self._base}{path}", params=query, headers=headers, data=data, timeout=timeout
            ) as response:
                if response.status == 404:
                    raise LookupError(await _message(response))
                if response.status >= 400:
                    raise ReplicaFault(f"the Docker engine refused: {await _message(response)}")
                yield response
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, aiohttp.SocketTimeoutError):
                raise TimeoutError from None
            raise self.away(error) from None

    def away(self, error: Exception) -> DriverUnavailable:
        """Say that the engine cannot be reached, and where it was tried."""
        return DriverUnavailable(
            f"the Docker engine at {self.settings.host} cannot be reached: {_cause(error)}"
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._http is not None:
            await self._http.close()
        await asyncio.to_thread(self._threads.shutdown)
        if self._client is not None:
            self._client.close()

    def _ask(self, ask: Callable[[DockerClient], T]) -> T:
        try:
            self._knock()
            return ask(self._connected())
        except APIError as error:
            if error.response is not None and error.response.status_code == 503:
                said = f"the Docker engine at {self.settings.host} says: {error.explanation}"
                raise DriverUnavailable(said) from None
            raise ReplicaFault(f"the Docker engine refused: {error.explanation or error}") from None
        except (DockerException, RequestException, OSError) as error:
            raise self.away(error) from None

    def _knock(self) -> None:
        """See whether anyone is at the socket: the SDK leaves one open for each time that nobody is."""
        if path := self._socket_path:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(self.settings.timeout)
                probe.connect(path)

    def _connected(self) -> DockerClient:
        with self._connecting:
            if self._client is None:
                own = self.settings
                self._client = DockerClient(
                    base_url=own.host,
                    version=_API,
                    timeout=math.ceil(own.timeout),
                    tls=self._tls() or False,
                    max_pool_size=_THREADS,
                )
            return self._client

    def _tls(self) -> TLSConfig | None:
        own = self.settings
        if own.host.startswith("unix:"):
            return None
        pair = (
            (str(own.tls_cert_path), str(own.tls_key_path))
            if own.tls_cert_path and own.tls_key_path
            else None
        )
        return TLSConfig(client_cert=pair, ca_cert=_text(own.tls_ca_path), verify=True)

    @property
    def _socket_path(self) -> str | None:
        host = self.settings.host
        return host.removeprefix("unix://") if host.startswith("unix://") else None

    @property
    def _base(self) -> str:
        if self._socket_path:
            return f"http://docker/v{_API}"
        return f"https://{urlsplit(self.settings.host).netloc}/v{_API}"

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            connector: aiohttp.BaseConnector
            if path := self._socket_path:
                connector = aiohttp.UnixConnector(path, limit=0)
            else:
                connector = aiohttp.TCPConnector(limit=0, ssl=self._ssl())
            self._http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._http

    def _ssl(self) -> ssl.SSLContext:
        own = self.settings
        context = ssl.create_default_context(cafile=_text(own.tls_ca_path))
        if own.tls_cert_path and own.tls_key_path:
            context.load_cert_chain(own.tls_cert_path, own.tls_key_path)
        return context


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


async def _message(response: aiohttp.ClientResponse) -> str:
    try:
        return str((await response.json())["message"])
    except (ValueError, KeyError, TypeError, aiohttp.ContentTypeError):
        return f"HTTP status {response.status}"


def _cause(error: BaseException) -> str:
    """Find the operating system's words beneath the layers of HTTP libraries."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror.lower()
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, TimeoutError) or "timed out" in str(error).lower():
        return "it does not answer"
    return str(error) or type(error).__name__
