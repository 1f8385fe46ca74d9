"""Files that are too large are known by their size, and never loaded."""

from activities.github_sync.definitions import LARGEST
from tests.github.double import GitHubDouble
from tests.github.syncs import bind, own, servers, unique
from tests.github.test_checks import checked, hook, proposed
from tests.github.test_pushing import change, push
from tests.platform import RunningPlatform

LARGE = " " * LARGEST


async def test_a_pull_request_has_no_large_file_loaded(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("old"))})
    await hook(github, bound)
    pull = await proposed(github, bound, {"mcp.json": LARGE + own(unique("new"))})
    [definition] = (await checked(bound, pull))["definitions"]
    assert definition["kind"] == "refused"
    assert f"more than {LARGEST}" in definition["reason"]
    assert github.asked("GET", "/git/blobs/") == [200], "what was there before"


async def test_a_push_has_no_large_file_loaded(platform: RunningPlatform, github: GitHubDouble) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await bound.sync()
    await change(bound, slug)
    await bound.repository.commit({"mcp.json": LARGE + servers(slug)})
    read = len(github.asked("GET", "/git/blobs/"))
    [refused] = (await push(bound))["result"]["refused"]
    assert refused["reason"].endswith(f"more than {LARGEST}")
    assert len(github.asked("GET", "/git/blobs/")) == read
