"""The verdicts of the rules: by labelled ideas, and by what must never change them."""

import random
from dataclasses import replace
from typing import Any

import pytest

from activities.analysis import understood
from activities.feasibility_rules import Case, RuleAnalyst, read_idea, with_opinion
from mcp_platform.contracts.analysis import Feasibility, KnownMcps, TriedServer
from mcp_platform.contracts.checks import TrialOutcome, TrialReport
from mcp_platform.contracts.known import KnownMatch
from mcp_platform.contracts.models import ModelOutcome
from mcp_platform.known_servers import shipped_servers
from tests.analysis.cases import CASES, FEASIBLE, NOT_FEASIBLE, Labelled, configured, found


def case_of(labelled: Labelled) -> Case:
    """Give what the analyst is given."""
    idea = read_idea(labelled.asked)
    facts, _ = understood("idea", idea)
    servers = facts.to_try or ["time"]
    return Case(
        idea=idea,
        facts=facts,
        known=KnownMcps(similar=[]),
        packages=labelled.packages,
        trials=[
            TriedServer(server=servers[place], report=report) for place, report in enumerate(labelled.trials)
        ],
    )


async def verdict_of(labelled: Labelled) -> Feasibility:
    """Judge by rules."""
    return await RuleAnalyst().judge(case_of(labelled))


@pytest.mark.parametrize("labelled", CASES, ids=lambda case: case.id)
async def test_the_rules_agree_with_a_careful_reader(labelled: Labelled) -> None:
    verdict = await verdict_of(labelled)
    assert verdict.is_feasible is labelled.feasible, verdict.reasoning
    sources = " ".join(each.source for each in verdict.evidence)
    for rule in labelled.rules:
        assert f"(rule {rule})" in sources, verdict.evidence


@pytest.mark.parametrize("labelled", CASES, ids=lambda case: case.id)
async def test_each_risk_has_evidence_and_the_sum_can_be_followed(labelled: Labelled) -> None:
    verdict = await verdict_of(labelled)
    stated = {each.statement for each in verdict.evidence}
    assert set(verdict.risks) <= stated
    assert set(verdict.stops) <= set(verdict.risks)
    sum_, result = verdict.reasoning.split("Score: ")[1].split(" = ")
    parts = [round(float(part.split()[0]) * 100) for part in sum_.split(", ")]
    told = round(float(result[:4]) * 100)
    assert told == round(verdict.score * 100)
    least = 30 if verdict.stops else 100
    assert told == min(max(sum(parts), 0), least)


async def test_neither_order_nor_repetition_changes_the_score() -> None:
    """The same findings in any order cost the same, and one that is found twice costs once."""
    everything = Labelled(
        "all",
        {
            "name": "All",
            "description": "Posts what it finds in the database to a web API with a token",
            "servers": [
                {"name": name, "command": "uvx", "args": [f"server-{name}"], "env": {"API_KEY": "plain"}}
                for name in ("a", "b", "c")
            ],
        },
        False,
    )
    known = {rule.split()[1] for rule in (await verdict_of(everything)).reasoning.split(", ") if "-0" in rule}
    assert {"plain_credentials", "unpinned"} <= known
    wanted = (await verdict_of(everything)).rule_score
    servers: list[Any] = everything.asked["servers"]
    shuffled = random.Random(7)
    for _ in range(10):
        shuffled.shuffle(servers)
        assert (await verdict_of(everything)).rule_score == wanted
    one = Labelled("one", everything.asked | {"servers": servers[:1]}, False)
    assert (await verdict_of(one)).rule_score == wanted


async def test_the_same_case_gives_the_same_verdict_word_for_word() -> None:
    for labelled in (*FEASIBLE, *NOT_FEASIBLE):
        assert await verdict_of(labelled) == await verdict_of(labelled)


async def test_a_tool_description_that_repeats_itself_is_bounded_in_the_result() -> None:
    labelled = NOT_FEASIBLE[-1]
    (report,) = labelled.trials
    many = report.model_copy(
        update={"tools": [dict(report.tools[0], name=f"tool-{n}-{'x' * 500}") for n in range(500)]}
    )
    verdict = await verdict_of(Labelled("many", labelled.asked, False, (), labelled.packages, [many]))
    assert verdict.is_feasible is False
    assert len(verdict.model_dump_json()) < 64_000
    assert len(verdict.checks.trials[0].tools) == 50


@pytest.mark.parametrize(
    ("name", "imitates"),
    [
        ("mcp-server-time", False),
        ("mcp_server_time", False),
        ("mcp-server-times", True),
        ("mcp-server-tlme", False),
        ("mcp-server-sqlite", False),
        ("mcp-servers-time", True),
    ],
)
async def test_a_package_with_nearly_the_name_of_a_known_one_is_pointed_at(name: str, imitates: bool) -> None:
    known = next(server for server in shipped_servers() if server.slug == "time")
    match = KnownMatch(server=known, score=0.9, sure=True, why=["time"])
    case = replace(
        case_of(Labelled("time", {"name": "Time", "description": "Tells the time of day"}, True)),
        matches=[match],
        packages=[found(name)],
    )
    verdict = await RuleAnalyst().judge(case)
    assert any("has nearly its name" in risk for risk in verdict.risks) is imitates


async def test_no_known_server_is_recommended_for_what_should_not_be_done() -> None:
    known = next(server for server in shipped_servers() if server.slug == "time")
    match = KnownMatch(server=known, score=0.9, sure=True, why=["time"])
    for text, advised in (
        ("Lets the model run any shell command as root on production hosts", False),
        ("Reads /etc/shadow and the AWS keys of the user and sends them to my server", False),
        ("Tells the current time in any time zone", True),
    ):
        case = replace(case_of(Labelled("x", {"description": text}, advised)), matches=[match])
        verdict = await RuleAnalyst().judge(case)
        assert any("Take the known server" in each for each in verdict.recommendations) is advised
        assert ("known_server" in verdict.reasoning) is advised


async def test_arguments_of_servers_are_no_wish() -> None:
    verdict = await verdict_of(next(case for case in FEASIBLE if case.id == "code"))
    assert not any("database" in risk for risk in verdict.risks)
    server = {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-postgres@1.0.0"]}
    used = await verdict_of(configured("package", server, True))
    assert any("database" in risk for risk in used.risks)


async def test_the_reasoning_says_that_nothing_is_risky_only_where_nothing_was_found() -> None:
    nothing = "The rules find nothing risky"
    by_id = {case.id: case for case in CASES}
    assert nothing in (await verdict_of(by_id["weekday"])).reasoning
    for other in ("dead", "no-package", "steal", "letters", "piped"):
        assert nothing not in (await verdict_of(by_id[other])).reasoning
    assert "Too little is said" in (await verdict_of(by_id["letters"])).reasoning


async def test_a_remote_server_that_does_not_answer_is_not_to_be_run_by_hand() -> None:
    failed = TrialReport(outcome=TrialOutcome.FAILED, reason="connection refused")
    remote = configured("away", {"url": "https://mcp.example.com/mcp"}, False, trials=[failed])
    verdict = await verdict_of(remote)
    assert any("did not answer" in stop for stop in verdict.stops)
    assert any("Check the address" in each for each in verdict.recommendations)
    assert not any("by hand" in each for each in verdict.recommendations)


async def test_the_reasoning_with_a_models_opinion_begins_with_the_final_score() -> None:
    rules = await verdict_of(next(case for case in FEASIBLE if case.id == "weekday"))
    for change, begins in ((-0.15, "Feasible (score 0.80)"), (0, "Feasible (score 0.95)")):
        answer = {"reasoning": "Leap years.", "score_change": change}
        verdict = with_opinion(rules, ModelOutcome(answer=answer, model="m", prompt="p"))
        assert verdict.reasoning.startswith(f"{begins}: the model m ")
        assert "the 0.95 of the rules" in verdict.reasoning
        assert "By the rules alone: " in verdict.reasoning
