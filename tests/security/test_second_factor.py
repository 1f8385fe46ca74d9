"""Time-based codes as RFC 6238 has them, and recovery codes."""

import base64
from uuid import uuid4

import pyotp
import pytest

from mcp_platform.security.second_factor import (
    new_recovery_codes,
    new_totp_secret,
    qr_svg,
    recovery_code_hash,
    totp_purpose,
    totp_step,
    totp_uri,
)

# RFC 6238, appendix B: the test secret, and its last six digits at these moments (SHA-1).
SECRET = base64.b32encode(b"12345678901234567890").decode()
VECTORS = [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]


@pytest.mark.parametrize(("moment", "code"), VECTORS)
def test_codes_are_those_of_the_standard(moment: int, code: str) -> None:
    assert totp_step(SECRET, code, moment) == moment // 30


def test_a_code_is_good_one_step_before_and_after_its_own_and_no_longer() -> None:
    code = pyotp.TOTP(SECRET).generate_otp(100)
    assert [totp_step(SECRET, code, step * 30.0) for step in range(97, 104)] == [
        None,
        None,
        100,
        100,
        100,
        None,
        None,
    ]


@pytest.mark.parametrize("code", ["", "28708", "2870820", "287O82", "\uff12\uff18\uff17\uff10\uff18\uff12"])
def test_what_is_no_code_belongs_to_no_step(code: str) -> None:
    assert totp_step(SECRET, code, 59) is None


def test_a_secret_has_160_random_bits() -> None:
    secrets = {new_totp_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(base64.b32decode(secret)) for secret in secrets} == {20}


def test_the_address_names_the_platform_and_the_account() -> None:
    parsed = pyotp.parse_uri(totp_uri(SECRET, "ada lovelace"))
    assert (parsed.secret, parsed.name, parsed.issuer) == (SECRET, "ada lovelace", "MCP Platform")


def test_a_picture_can_stand_in_a_page_as_it_is() -> None:
    picture = qr_svg(totp_uri(SECRET, "ada"))
    assert picture.startswith("<svg")
    assert picture.endswith("</svg>")
    assert SECRET not in picture


def test_recovery_codes_have_80_random_bits_and_are_found_however_they_are_typed() -> None:
    codes = new_recovery_codes()
    assert len(set(codes)) == 10
    assert all(len(base64.b32decode(code.replace("-", "").upper())) == 10 for code in codes)
    code = codes[0]
    for typed in (code.upper(), code.replace("-", ""), f"  {code.replace('-', ' ')}  "):
        assert recovery_code_hash(typed) == recovery_code_hash(code)
    assert recovery_code_hash(codes[1]) != recovery_code_hash(code)
    assert code not in recovery_code_hash(code)


def test_a_sealed_secret_belongs_to_one_account() -> None:
    assert totp_purpose(uuid4()) != totp_purpose(uuid4())
