"""What differs between two JSON values, in the manner of JSON Patch (RFC 6902)."""

from collections.abc import Iterator
from typing import Any, Literal

from mcp_platform.contracts.base import Contract


class Difference(Contract):
    """One step from the older value to the newer; `old` is what was there before."""

    op: Literal["add", "remove", "replace"]
    path: str
    """A JSON Pointer (RFC 6901) into the value as the steps before have left it."""
    value: Any = None
    old: Any = None


def differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:
    """Give the steps that lead from the old value to the new one, when taken in this order."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name, value in old.items():
            place = f"{path}/{_escaped(name)}"
            if name in new:
                yield from differences(value, new[name], place)
            else:
                yield Difference(op="remove", path=place, old=value)
        for name in new.keys() - old.keys():
            yield Difference(op="add", path=f"{path}/{_escaped(name)}", value=new[name])
    elif isinstance(old, list) and isinstance(new, list):
        yield from _in_lists(old, new, path)
    elif type(old) is not type(new) or old != new:
        yield Difference(op="replace", path=path, value=new, old=old)


def _in_lists(old: list[Any], new: list[Any], path: str) -> Iterator[Difference]:
    """Compare what lies between the parts that both begin and end with."""
    shortest = min(len(old), len(new))
    start = 0
    while start < shortest and old[start] == new[start]:
        start += 1
    rest = 0
    while rest < shortest - start and old[-1 - rest] == new[-1 - rest]:
        rest += 1
    gone, come = old[start : len(old) - rest], new[start : len(new) - rest]
    for place, (before, after) in enumerate(zip(gone, come, strict=False), start):
        yield from differences(before, after, f"{path}/{place}")
    both = start + min(len(gone), len(come))
    for value in gone[len(come) :]:
        # Each removal moves the next one to the same place.
        yield Difference(op="remove", path=f"{path}/{both}", old=value)
    for place, value in enumerate(come[len(gone) :], both):
        yield Difference(op="add", path=f"{path}/{place}", value=value)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
