"""Memory that was needed only in passing."""

import ctypes
import sys


def give_back() -> None:
    """Give free memory back to the system, which glibc would keep: loading needs thrice what stays."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
