"""Registered MCPs that look like an idea, and who is told of them."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from activities.analysis import AnalysisActivities
from activities.feasibility_rules import RuleAnalyst
from mcp_platform.contracts.analysis import SearchOrder
from mcp_platform.names import Collection
from tests.analysis.conftest import Judging


@pytest.fixture
def room(judging: Judging) -> AnalysisActivities:
    """Give the activities, on the platform's stores."""
    return AnalysisActivities(judging.platform.parts.stores, RuleAnalyst())


async def registered(judging: Judging, name: str, description: str, **config: Any) -> dict[str, Any]:
    """Register an MCP."""
    return await judging.admin.register_mcp(config, name=name, description=description)


async def test_rare_words_weigh_more_than_those_that_every_mcp_has(
    judging: Judging, room: AnalysisActivities
) -> None:
    mark, common = f"quokka{uuid4().hex[:8]}", f"marsupial{uuid4().hex[:8]}"
    for number in range(4):
        await registered(judging, f"Other {number}", f"About {common} number {number}")
    near = await registered(judging, "Zoo", f"Counts {mark} of the {common} kind")
    order = SearchOrder(text=f"Watching {mark} and {common}", reads_knowledge=False)
    known = await room.search(order)
    assert known.mcps[0].slug == near["slug"]
    assert all(other.score < known.mcps[0].score for other in known.mcps[1:])
    assert known.similar[0] == f"{near['slug']}: Zoo"
    assert (await room.search(order)) == known


async def test_a_new_version_is_not_told_that_it_does_the_same_as_itself(
    judging: Judging, room: AnalysisActivities
) -> None:
    mark = f"echidna{uuid4().hex[:8]}"
    own = await registered(judging, "Own", f"Feeds {mark}")
    order = SearchOrder(text=f"Feeds {mark}", reads_knowledge=False)
    assert [mcp.slug for mcp in (await room.search(order)).mcps] == [own["slug"]]
    without = order.model_copy(update={"of_mcp": UUID(own["id"])})
    assert (await room.search(without)).mcps == []


async def test_who_may_not_read_mcps_is_told_of_none(judging: Judging, room: AnalysisActivities) -> None:
    mark = f"numbat{uuid4().hex[:8]}"
    await registered(judging, "Hidden", f"Feeds {mark}")
    order = SearchOrder(text=f"Feeds {mark}", reads_mcps=False, reads_knowledge=False)
    assert (await room.search(order)).mcps == []


async def test_tools_and_chinese_words_are_found_too(judging: Judging, room: AnalysisActivities) -> None:
    mark = f"tuatara_{uuid4().hex[:8]}"
    by_tool = await registered(judging, "Reptiles", "Cares for them", tools=[{"name": mark}])
    chinese = await registered(judging, "袋熊饲养", "记录袋熊的体重与饲料")
    found = await room.search(SearchOrder(text=mark, reads_knowledge=False))
    assert [mcp.slug for mcp in found.mcps] == [by_tool["slug"]]
    found = await room.search(SearchOrder(text="记录袋熊体重的工具", reads_knowledge=False))
    assert [mcp.slug for mcp in found.mcps] == [chinese["slug"]]


async def test_a_run_that_began_before_still_finds_what_it_looks_for(
    judging: Judging, room: AnalysisActivities
) -> None:
    mark = f"bilby{uuid4().hex[:8]}"
    near = await registered(judging, "Burrows", f"Maps {mark}")
    key = str(uuid4())
    idea = {"name": "Burrow map", "description": f"Maps {mark}"}
    await judging.platform.parts.stores.documents.put(Collection.IDEAS, key, idea)
    assert (await room.find_known(key)).similar == [f"{near['slug']}: Burrows"]


async def test_a_search_without_a_single_word_finds_nothing(room: AnalysisActivities) -> None:
    known = await room.search(SearchOrder(text="的 to a !"))
    assert (known.mcps, known.documents) == ([], [])
