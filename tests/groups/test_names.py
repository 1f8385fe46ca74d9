"""Under which names a group shows what several servers offer."""

import re

import pytest

from gateway.groups.names import LONGEST, Names, Origin, Uris
from gateway.groups.templates import may_come_from


def test_only_names_that_several_have_are_prefixed() -> None:
    names = Names([("files", ["read", "search"]), ("web", ["fetch", "search"])])
    assert names.shown("files", "read") == "read"
    assert names.shown("files", "search") == "files__search"
    assert names.shown("web", "search") == "web__search"
    assert names.find("search") is None
    assert names.find("files__search") == Origin("files", "search")
    assert names.find("files__read") == Origin("files", "read")
    assert names.find("web__read") is None


def test_a_new_member_renames_nothing_but_what_it_has_in_common() -> None:
    old = [("files", ["read", "search"]), ("web", ["fetch", "get"])]
    before, after = Names(old), Names([*old, ("more", ["get", "put"])])
    changed = {
        (slug, name)
        for slug, all_names in old
        for name in all_names
        if before.shown(slug, name) != after.shown(slug, name)
    }
    assert changed == {("web", "get")}


def test_names_do_not_depend_on_the_order_of_the_members() -> None:
    members = [(f"s-{n}", ["same", f"own_{n}", "x" * 70]) for n in range(5)]
    forward, backward = Names(members), Names(members[::-1])
    for slug, all_names in members:
        for name in all_names:
            assert forward.shown(slug, name) == backward.shown(slug, name)


def test_no_name_is_longer_than_64_characters_and_no_two_are_alike() -> None:
    slug, tool = "a-server-with-quite-a-long-name", "a_tool_whose_name_is_rather_long_and_goes_on"
    members = [
        (slug, [tool, f"{tool}_", "y" * 128]),
        (f"{slug}-2", [tool, f"{tool}_", "y" * 127 + "z"]),
        # Somebody's own names may look like ours.
        ("third", [f"{slug}__{tool}"[:LONGEST], "third__short", "short"]),
        ("fourth", ["short"]),
    ]
    names = Names(members)
    shown = [names.shown(slug, name) for slug, all_names in members for name in all_names]
    assert len(set(shown)) == len(shown)
    assert all(len(name) <= LONGEST for name in shown)
    for slug, all_names in members:
        for name in all_names:
            assert names.find(names.shown(slug, name)) == Origin(slug, name)
    assert re.fullmatch(r"y+_[0-9a-f]{8}", names.shown(members[0][0], "y" * 128))
    assert names.shown("third", "third__short") == "third__short"


def test_a_name_that_is_nearly_right_brings_up_the_right_one() -> None:
    names = Names([("files", ["read_file", "search"]), ("web", ["search"])])
    assert names.similar("search") == ["files__search", "web__search"]
    assert names.similar("readfile") == ["read_file"]


def test_among_many_names_those_are_similar_that_begin_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("gateway.groups.names.get_close_matches")
    names = Names([("files", [f"tool_{number}" for number in range(300)]), ("web", ["read_file"])])
    assert names.similar("read_fiel") == ["read_file"]
    assert len(names.similar("tool_x")) == 3
    assert names.similar("x" * 100_000) == names.similar("") == []


def test_a_uri_stays_its_first_owners_and_leads_to_the_others_with_a_prefix() -> None:
    uris = Uris([("one", ["a://x"]), ("two", ["a://x", "b://y"])])
    assert uris.shown("one", "a://x") == "a://x"
    assert uris.shown("two", "a://x") == "mcp+two+a://x"
    assert uris.find("mcp+two+a://x") == Origin("two", "a://x")
    assert uris.find("mcp+three+a://x") is None
    assert uris.find("b://y") == Origin("two", "b://y")


def test_a_uri_is_told_from_its_template() -> None:
    assert may_come_from("user://ann/profile", "user://{name}/profile")
    assert not may_come_from("user://ann/b/profile", "user://{name}/profile")
    assert may_come_from("file:///a/b/c", "file:///{+path}")
    assert may_come_from("find://x?q=1", "find://x{?q}")
    assert may_come_from("find://x", "find://x{?q}")
    assert may_come_from("a://b-c-d/e.txt", "a://{x}-{y}/{z}.txt")
    assert not may_come_from("a://b/e.txt", "a://{x}-{y}/{z}.txt")
    assert not may_come_from("a://x/", "a://x/{y}")
    assert not may_come_from("a://aba", "a://ab{?x}ba")
    assert may_come_from("a://b", "a://b")
    assert not may_come_from("a://bc", "a://b")
    assert may_come_from("x://1/2/3/end", "x://{+path}/{name}")


def test_no_template_makes_the_time_grow_faster_than_the_uri() -> None:
    assert not may_come_from("a" * 8192, "{+a}a" * 40 + "b")
    assert not may_come_from("a" * 8192, "{a}a" * 40 + "b")
