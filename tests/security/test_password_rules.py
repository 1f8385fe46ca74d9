"""What is too easy to guess, and what is not."""

import pytest

from mcp_platform.security.password_rules import password_problem


@pytest.mark.parametrize(
    "password",
    [
        "SecurePassword123!",
        "correct horse battery staple",
        "another good password",
        "天地玄黄宇宙洪荒日月盈昃",
        "ada@example.com and more",
        "qwerty is not all of it",
    ],
)
def test_a_password_that_only_its_owner_thinks_of_will_do(password: str) -> None:
    assert password_problem(password, "ada.lovelace", "ada@example.com") is None


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("Ada.Lovelace", "username"),
        ("ADA@example.COM", "e-mail"),
        ("passwordpassword", "guessed"),
        ("QWERTYuiop123", "guessed"),
        ("123456789012345", "guessed"),
        ("zyxwvutsrqponm", "guessed"),
        ("aaaaaaaaaaaa", "repeats"),
        ("abcdabcdabcdab", "repeats"),
        ("aaaaaaaaaaab", "repeats"),
    ],
)
def test_a_password_that_others_try_first_is_refused(password: str, reason: str) -> None:
    problem = password_problem(password, "ada.lovelace", "ada@example.com")
    assert problem is not None
    assert reason in problem


def test_the_part_before_the_at_sign_is_no_password_either() -> None:
    assert password_problem("countess.of.lovelace", "ada", "countess.of.lovelace@example.com")
