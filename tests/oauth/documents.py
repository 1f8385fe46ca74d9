"""Clients' own metadata documents, served by https with a certificate of our own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from tests.oauth.browser import REDIRECT
from tests.waiting import eventually


@dataclass
class Documents:
    """What is served, by path."""

    url: str
    certificate: Path
    served: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The path of each request."""

    def put(self, path: str, **changes: Any) -> str:
        """Serve a client's document; its address."""
        address = f"{self.url}{path}"
        document = {"client_id": address, "client_name": "Described", "redirect_uris": [REDIRECT]}
        self.served[path] = {**document, **changes}
        return address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        self.asked.append(request.url.path)
        found = self.served.get(request.url.path)
        response: Response = JSONResponse(found, 404 if found is None else 200)
        if isinstance(found, str):
            response = RedirectResponse(found)
        await response(scope, receive, send)


@asynccontextmanager
async def documents_served(folder: Path) -> AsyncIterator[Documents]:
    """Serve documents on a free port of this machine."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    _make_certificate(certificate, key)
    documents = Documents("", certificate)
    config = uvicorn.Config(
        documents,
        port=0,
        log_config=None,
        lifespan="off",
        ws="none",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    port = server.servers[0].sockets[0].getsockname()[1]
    documents.url = f"https://localhost:{port}"
    try:
        yield documents
    finally:
        server.should_exit = True
        await running


def _make_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
