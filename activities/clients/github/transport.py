"""How PyGithub connects: to addresses that may be reached, without repeating, and with ETags."""

import hashlib
import socket
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, Final

from github.Requester import (
    HTTPRequestsConnectionClass,
    HTTPSRequestsConnectionClass,
    Requester,
    RequestsResponse,
)
from requests import Session
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.connection import create_connection

from mcp_platform.addresses import refusal

PUBLIC_API: Final = "https://api.github.com"
_PUBLIC_HOST: Final = "api.github.com"

_LARGEST_KEPT: Final = 1_048_576
_MOST_KEPT: Final = 16_777_216


class AddressRefused(Exception):
    """No connection may be made there; the message says why."""


class _Checked:
    """Connects nowhere but where it may.

    GitHub's own address must be a public one. An Enterprise server's may be private, for an administrator
    has named its host; cloud metadata and link-local addresses are refused always.
    """

    host: str
    port: int
    timeout: float | None
    socket_options: Any

    def _new_conn(self) -> socket.socket:
        private = self.host != _PUBLIC_HOST
        trouble: Exception | None = None
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NewConnectionError(self, "unknown name") from error  # type: ignore[arg-type]
        for *_, address in found:
            place = str(address[0])
            if (reason := refusal(place, private=private)) is not None:
                trouble = AddressRefused(f"its address {reason}")
                continue
            try:
                return create_connection((place, self.port), self.timeout, socket_options=self.socket_options)
            except OSError as error:
                trouble = error
        if isinstance(trouble, TimeoutError):
            raise ConnectTimeoutError(self, "no answer") from trouble
        raise NewConnectionError(self, "no connection") from trouble  # type: ignore[arg-type]


class _CheckedHttp(_Checked, HTTPConnection):
    pass


class _CheckedHttps(_Checked, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _CheckedHttp


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedHttps


@cache
def _trusted() -> ssl.SSLContext:
    """Give whom the system trusts: to read that in takes 40 ms, and there is an adapter for each question.

    No other part shares it, for urllib3 adds to it whom requests trusts.
    """
    return ssl.create_default_context()


class _Adapter(HTTPAdapter):
    """Trusts whom the system trusts, and repeats nothing: who repeats is the activity."""

    def __init__(self) -> None:
        super().__init__(max_retries=0, pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Have all connections checked."""
        super().init_poolmanager(*arguments, ssl_context=_trusted(), **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


@dataclass(frozen=True)
class _Kept:
    tag: str
    status: int
    headers: dict[str, str]
    text: str


class _Answers:
    """Answers that GitHub gave with an ETag: asking for them again costs nothing of the rate limit."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, key: str) -> _Kept | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: str, answer: _Kept) -> None:
        with self._lock:
            old = self._kept.pop(key, None)
            self._size -= len(old.text) if old else 0
            if len(answer.text) > _LARGEST_KEPT:
                return
            self._kept[key] = answer
            self._size += len(answer.text)
            while self._size > _MOST_KEPT:
                self._size -= len(self._kept.popitem(last=False)[1].text)


_ANSWERS: Final = _Answers()


class _Answered:
    """An answer in the form that PyGithub reads."""

    def __init__(self, status: int, headers: dict[str, str], text: str) -> None:
        self.status = status
        self._headers = headers
        self._text = text

    def getheaders(self) -> Any:
        return self._headers.items()

    def read(self) -> str:
        return self._text


class _Conditional:
    """Asks whether what was answered before still holds."""

    session: Session
    verb: str
    url: str
    headers: dict[str, str]
    protocol: str
    host: str
    port: int

    def getresponse(self) -> RequestsResponse:
        """Send the request."""
        if self.verb != "GET":
            return self._sent()
        key = self._key()
        kept = _ANSWERS.get(key)
        if kept is not None:
            self.headers["If-None-Match"] = kept.tag
        response = self._sent()
        if kept is not None and response.status == 304:
            # The limits are today's; the rest is what was answered then, such as the links to more pages.
            headers = kept.headers | {
                name: value for name, value in _lower(response).items() if name.startswith("x-ratelimit-")
            }
            return _Answered(kept.status, headers, kept.text)  # type: ignore[return-value]
        headers = _lower(response)
        if response.status == 200 and (tag := headers.get("etag")):
            _ANSWERS.put(key, _Kept(tag, response.status, headers, response.read()))
        return response

    def _sent(self) -> RequestsResponse:
        return super().getresponse()  # type: ignore[misc, no-any-return]

    def _key(self) -> str:
        whose = self.headers.get("Authorization", "")
        accept = self.headers.get("Accept", "")
        parts = (whose, accept, f"{self.protocol}://{self.host}:{self.port}{self.url}")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class _Http(_Conditional, HTTPRequestsConnectionClass):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        _guard(self.session)


class _Https(_Conditional, HTTPSRequestsConnectionClass):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        _guard(self.session)


def _guard(session: Session) -> None:
    # No proxy and no .netrc of the environment: the address that is checked is the one that is reached.
    session.trust_env = False
    adapter = _Adapter()
    session.mount("http://", adapter)
    session.mount("https://", adapter)


def _lower(response: RequestsResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def install() -> None:
    """Have all of PyGithub connect so."""
    Requester.injectConnectionClasses(_Http, _Https)
