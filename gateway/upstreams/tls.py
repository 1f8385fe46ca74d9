"""TLS towards servers: whom the platform trusts, and what is wrong where it does not come about."""

import ssl
from functools import cache
from typing import Final

from gateway.upstreams.connection import TlsFailed

_EXPIRED: Final = 10
_NOT_YET: Final = 9
_OTHER_NAMES: Final = frozenset({62, 64})
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
"""What OpenSSL's `X509_V_ERR_…` mean (x509_vfy.h)."""

_NO_TLS: Final = frozenset(
    {
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "UNKNOWN_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)
"""How OpenSSL calls bytes that are no record of TLS."""
_WANTS_TLS: Final = (
    b"plain HTTP request was sent to HTTPS port",  # nginx
    b"Client sent an HTTP request to an HTTPS server",  # Go
    b"speaking plain HTTP to an SSL-enabled server port",  # Apache
)
"""Said to who speaks plain HTTP at a port with TLS."""


@cache
def context() -> ssl.SSLContext:
    """Make the settings once, for it takes 30 ms: trusted is whom the system does, or `SSL_CERT_FILE`."""
    return ssl.create_default_context()


def failure(place: str, error: ssl.SSLError) -> TlsFailed:
    """Say what is wrong with the TLS of a server, and what would be right."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(f"The certificate of {place} {_wrong(error)}")
    if error.reason in _NO_TLS:
        return TlsFailed(f"{place} does not speak TLS: for plain HTTP its URL must begin with http://")
    return TlsFailed(f"TLS with {place} does not come about: {error.reason or error}")


def refuse_plain(place: str, status: int, body: bytes | None) -> None:
    """Do nothing, unless an answer says that plain HTTP is not what is spoken there.

    Raises:
        TlsFailed: It does.
    """
    if status == 400 and body is not None and any(words in body for words in _WANTS_TLS):
        raise TlsFailed(f"{place} speaks TLS: its URL must begin with https://")


def _wrong(error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "has expired: the server needs a new one"
    if code == _NOT_YET:
        return "is not valid yet: the server's clock or ours is wrong, or it was put there too early"
    if code in _OTHER_NAMES:
        return "is for another name: the URL must name the server as its certificate does"
    if code in _UNKNOWN_AUTHORITY:
        return (
            f"is of an authority that is not trusted here ({error.verify_message}): the server has to send"
            " one of a public authority, with the certificates between; or an administrator adds the server's"
            " authority to the file that SSL_CERT_FILE names"
        )
    return f"is not accepted: {error.verify_message}"
