"""What analyses get right: valid configurations, trials, the right server, the verdict."""

import asyncio
import os
from collections.abc import Sequence

from benchmarks.analysis.answers import Answer, ask
from benchmarks.analysis.requests import REQUESTS
from benchmarks.servers import Platform
from benchmarks.tables import show

_AT_ONCE = 3


async def run(platform: Platform) -> None:
    """Ask all requests of the rules, and of a model where `MCP_PLATFORM_MODELS__CHAIN` names one."""
    engines = ["rules", *(["auto"] if os.environ.get("MCP_PLATFORM_MODELS__CHAIN") else [])]
    columns = []
    for engine in engines:
        answers = await _all(platform, engine)
        columns.append(_figures(answers))
        _show_each(engine, answers)
    names = ["rules", "with the model"][: len(columns)]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    show(f"Analysis: {len(REQUESTS)} requests, English and Chinese", ["figure", *names], rows)


async def _all(platform: Platform, engine: str) -> list[Answer]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(place: int) -> Answer:
        async with gate:
            return await ask(platform, REQUESTS[place], engine)

    return list(await asyncio.gather(*map(one, range(len(REQUESTS)))))


def _figures(answers: Sequence[Answer]) -> dict[str, str]:
    possible = [answer for answer in answers if answer.request.has_configuration]
    known = [answer for answer in answers if answer.request.servers]
    others = [answer for answer in answers if not answer.request.has_configuration]
    # The addresses of the OpenAPI documents are examples: nothing answers there.
    commands = [answer for answer in answers if answer.request.openapi is None]
    started = [answer for answer in commands if answer.trial in {"passed", "failed"}]
    return {
        "valid configurations": _share([answer.valid for answer in possible]),
        "trial starts that succeed, of those that can run": _share(
            [answer.trial == "passed" for answer in started]
        ),
        "right server, where the catalogue has one": _share([answer.right for answer in known]),
        "no known server, where none is right": _share([answer.chosen is None for answer in others]),
        "feasibility as labelled": _share([answer.feasible == answer.request.feasible for answer in answers]),
    }


def _share(outcomes: Sequence[bool]) -> str:
    if not outcomes:
        return "-"
    return f"{sum(outcomes)} of {len(outcomes)} ({100 * sum(outcomes) / len(outcomes):.0f} %)"


def _show_each(engine: str, answers: Sequence[Answer]) -> None:
    rows = [
        [
            answer.request.name,
            " / ".join(sorted(answer.request.servers)) or "none",
            answer.chosen or ("its own" if answer.generated else "none"),
            answer.trial or "-",
            "-" if answer.score is None else f"{answer.score:.2f}",
            "yes" if answer.feasible == answer.request.feasible else "no",
        ]
        for answer in answers
    ]
    head = ["request", "right", "chosen", "trial", "score", "verdict as labelled"]
    show(f"Analysis, engine {engine}", head, rows)
