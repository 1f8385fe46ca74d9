"""What ends a command with a message."""


class Failure(Exception):
    """Something that the user can put right; the message says how, in one or two lines."""
