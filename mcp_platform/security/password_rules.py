"""What makes a new password too easy to guess."""

_FEWEST_CHARACTERS = 5
_LONGEST_UNIT = 4
_ROWS = (
    "0123456789" * 4,
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertyuiop[]asdfghjkl",
    "1qaz2wsx3edc4rfv5tgb6yhn",
    "zaq12wsxcde34rfv",
)
_COMMON_WORDS = """
    password1234 password12345 password123456 passwordpassword password123!@# p@ssword1234 passw0rd1234
    mypassword123 adminpassword administrator administrator1 administrator123 admin1234567 adminadmin123
    changeme1234 changemenow1 letmeinplease letmein12345 welcome12345 welcome123456 welcome123!@#
    iloveyou1234 iloveyouforever iloveyousomuch ilovemyfamily qwerty123456 qwertyuiop123 qwerty1234567
    1q2w3e4r5t6y 1q2w3e4r5t6y7u 1q2w3e4r5t6y7u8i9o0p q1w2e3r4t5y6 a1b2c3d4e5f6 abcd12345678 abc123456789
    123456789abc 1234567890qwerty 123qwe123qwe 123qweasdzxc qazwsxedcrfv qweasdzxc123 asdfghjkl123
    football1234 basketball12 baseball1234 sunshine1234 princess1234 superman1234 monkey123456
    dragon123456 master123456 secret123456 temporary123 trustno1trustno1 whatever1234 computer1234
    internet1234 letmeinletmein testtesttest test12345678 guest1234567 default12345 rootrootroot
    correcthorsebatterystaple unknown12345 contrasenia123 motdepasse123 passwort1234 woaini1314520
    woaini5201314
"""
_COMMON = frozenset(_COMMON_WORDS.split())


def password_problem(password: str, username: str, email: str) -> str | None:
    """Say what is wrong with a new password; None when it will do."""
    folded = password.casefold()
    own = {username.casefold(), email.casefold(), email.casefold().partition("@")[0]}
    if folded in own:
        return "the password must not be the username or the e-mail address"
    if folded in _COMMON or any(folded in row or folded in row[::-1] for row in _ROWS):
        return "this password is among the first that are guessed; choose another, such as four random words"
    if len(set(folded)) < _FEWEST_CHARACTERS or _is_repeated(folded):
        return "this password repeats itself; use more different characters"
    return None


def _is_repeated(text: str) -> bool:
    return any(text[unit:] == text[:-unit] for unit in range(1, _LONGEST_UNIT + 1))
