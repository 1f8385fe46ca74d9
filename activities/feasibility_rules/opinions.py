"""What a model's opinion may change of a verdict by rules: it adds, and moves the score a little."""

from typing import Final

from activities.feasibility_rules.findings import short
from activities.feasibility_rules.judging import FEASIBLE, MOST_ADVICE, MOST_EVIDENCE, MOST_RISKS, STOPPED
from mcp_platform.contracts.analysis import Feasibility, FeasibilityOpinion
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.models import ModelOutcome

MOST_CHANGE: Final = 15
"""Hundredths by which it may move the score, up or down."""
_RULES_ONLY: Final = " No language model was used: this verdict comes from the built-in rules alone."


def with_opinion(verdict: Feasibility, outcome: ModelOutcome) -> Feasibility:
    """Add what a model said; whatever it says, no finding of the rules goes, and no stop is turned.

    Without an answer the verdict stays as it is, and says why.
    """
    if outcome.answer is None:
        reason = short(outcome.reason or "no model answered")
        reasoning = verdict.reasoning.removesuffix(_RULES_ONLY) + f"{_RULES_ONLY[:-1]} ({reason})."
        return verdict.model_copy(update={"reasoning": reasoning})
    opinion = FeasibilityOpinion.model_validate(outcome.answer)
    change = min(max(round(opinion.score_change * 100), -MOST_CHANGE), MOST_CHANGE)
    before = round(verdict.score * 100)
    score = min(max(before + change, 0), 100)
    if verdict.stops:
        score = min(score, STOPPED)
    source = f"model {outcome.model or 'unknown'}, prompt {outcome.prompt or 'unknown'}"
    risks = [(short(each.risk), short(each.because)) for each in opinion.risks]
    added = [
        Evidence(
            statement=risk,
            kind=SourceKind.MODEL,
            source=short(f"{source}: {because}" if because else source),
        )
        for risk, because in risks
        if risk and risk not in verdict.risks
    ]
    advice = [*verdict.recommendations, *map(short, opinion.recommendations)]
    return verdict.model_copy(
        update={
            "score": score / 100,
            "is_feasible": score >= FEASIBLE and not verdict.stops,
            "reasoning": _reasoning(verdict, opinion, outcome, score - before, score),
            "risks": [*verdict.risks, *(each.statement for each in added)][: MOST_RISKS + 8],
            "recommendations": list(dict.fromkeys(filter(None, advice)))[: MOST_ADVICE + 8],
            "engine": "model",
            "evidence": [*verdict.evidence, *added][: MOST_EVIDENCE + 8],
        }
    )


def _reasoning(
    verdict: Feasibility, opinion: FeasibilityOpinion, outcome: ModelOutcome, change: int, score: int
) -> str:
    by_rules = verdict.reasoning.removesuffix(_RULES_ONLY)
    feasible = score >= FEASIBLE and not verdict.stops
    end = "Feasible" if feasible else "Not feasible"
    before = f"{verdict.score:.2f}"
    moved = f"moves the {before} of the rules by {change / 100:+.2f} (at most {MOST_CHANGE / 100:.2f})"
    does = moved if change else f"leaves the {before} of the rules"
    return (
        f"{end} (score {score / 100:.2f}): the model {outcome.model or 'asked'} {does}."
        f" It says: {short(opinion.reasoning, 2000)} By the rules alone: {by_rules}"
    )
