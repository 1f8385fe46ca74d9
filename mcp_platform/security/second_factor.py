"""Second factors: time-based codes (RFC 6238) and recovery codes."""

import base64
import hashlib
import hmac
import io
import secrets
from uuid import UUID

import pyotp
import segno

_ISSUER = "MCP Platform"
_STEP_SECONDS = 30
_WINDOW = 1
"""Steps before and after the present one whose codes are taken: clocks differ."""
_RECOVERY_CODES = 10
_RECOVERY_BYTES = 10


def totp_purpose(user_id: UUID) -> str:
    """Name what an account's secret is sealed for."""
    return f"totp:{user_id}"


def new_totp_secret() -> str:
    """Make 160 random bits, in base32 as authenticators want them."""
    return pyotp.random_base32()


def totp_uri(secret: str, username: str) -> str:
    """Give the address that an authenticator reads the secret from."""
    return pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=_ISSUER)


def qr_svg(text: str) -> str:
    """Draw a QR code as an inline SVG; takes some milliseconds."""
    drawn = io.BytesIO()
    segno.make(text).save(drawn, kind="svg", scale=4, xmldecl=False, svgns=True)
    return drawn.getvalue().decode().strip()


def totp_step(secret: str, code: str, moment: float) -> int | None:
    """Tell which time step around this moment a code belongs to; None if to none."""
    totp = pyotp.TOTP(secret)
    present = int(moment) // _STEP_SECONDS
    found = None
    for step in range(present - _WINDOW, present + _WINDOW + 1):
        # No early end: the time that it takes tells nothing.
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Make ten codes of 80 random bits each, in groups that can be copied by hand."""
    return [_grouped(secrets.token_bytes(_RECOVERY_BYTES)) for _ in range(_RECOVERY_CODES)]


def recovery_code_hash(code: str) -> str:
    """Hash a recovery code, however it was typed: 80 random bits cannot be guessed, so fast will do."""
    plain = "".join(character for character in code.lower() if character.isalnum())
    return hashlib.sha256(plain.encode()).hexdigest()


def _grouped(random: bytes) -> str:
    text = base64.b32encode(random).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))
