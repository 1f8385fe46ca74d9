"""Pull requests of the platform that have nothing to merge any more."""

from tests.github.double import GitHubDouble, Pull
from tests.github.syncs import Bound, bind, own, unique
from tests.github.test_pushing import change, content, push
from tests.platform import RunningPlatform


async def pushed(platform: RunningPlatform, github: GitHubDouble) -> tuple[Bound, str, Pull]:
    """Have an open pull request with the platform's version of an MCP."""
    slug = unique("moot")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    await bound.sync()
    await change(bound, slug)
    [done] = (await push(bound))["result"]["pushed"]
    return bound, slug, bound.repository.pulls[done["pull_request"]]


def comments(bound: Bound) -> list[str]:
    """Give what was written to pull requests."""
    return [each["body"] for each in bound.repository.comments.values()]


async def test_one_is_closed_with_the_reason_when_the_repositorys_word_is_taken(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound, slug, pull = await pushed(platform, github)
    foreign = bound.repository.open_pull(f"mcp-platform/{slug}-0.9.0", title="Somebody's own")
    await bound.repository.commit({"x": "1"}, branch=foreign.head, parent=await bound.repository.head())
    await bound.repository.commit({"mcp.json": own(slug, "docker")})
    assert (await bound.sync())["refused"] == 1
    assert (pull.state, comments(bound)) == ("open", []), "both changed, and nothing is decided yet"
    assert (await bound.sync(force=True))["changed"] == 1
    assert (pull.state, foreign.state) == ("closed", "open")
    [said] = comments(bound)
    assert f"`main` and the platform say the same of `{slug}` by now" in said
    await bound.sync(force=True)
    assert len(comments(bound)) == 1


async def test_one_is_closed_when_the_same_was_merged_in_another_way(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound, _, pull = await pushed(platform, github)
    await bound.repository.commit({"mcp.json": await content(bound.repository, pull.head, "mcp.json")})
    assert (await bound.sync())["unchanged"] == 1
    assert pull.state == "closed"
    assert len(comments(bound)) == 1


async def test_one_is_closed_by_the_push_that_finds_nothing_to_push(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound, _, pull = await pushed(platform, github)
    await bound.repository.commit({"mcp.json": await content(bound.repository, pull.head, "mcp.json")})
    assert (await push(bound))["result"]["unchanged"] == 1
    assert pull.state == "closed"


async def test_a_credential_that_may_not_close_it_fails_no_sync(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound, slug, pull = await pushed(platform, github)
    for login in list(bound.repository.rights):
        bound.repository.rights[login] = "pull"
    refused = github.misbehave(
        status=403, method="POST", path="/issues/.*/comments$", message="Resource not accessible"
    )
    await bound.repository.commit({"mcp.json": own(slug, "docker")})
    assert (await bound.sync(force=True))["changed"] == 1
    assert (pull.state, refused.met) == ("open", 1)


async def test_one_whose_mcp_the_platform_has_changed_since_stays(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound, _, pull = await pushed(platform, github)
    await bound.repository.commit({"README.md": "no definition"})
    assert (await bound.sync())["unchanged"] == 1
    assert (pull.state, comments(bound)) == ("open", [])
