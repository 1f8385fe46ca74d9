"""What is told at the end of a generation, whatever it was."""

from uuid import uuid4

from activities.generation.drafts import from_known
from activities.generation.results import alternatives, reason_for_none
from mcp_platform.contracts.generation import Conclusion, DraftKnown, GenerationOrder, Wish
from mcp_platform.contracts.known import KnownMatch
from mcp_platform.contracts.models import EngineChoice
from mcp_platform.known_servers import shipped_servers

SERVERS = {server.slug: server for server in shipped_servers()}


def match(slug: str, score: float) -> KnownMatch:
    """Give a known server with a score."""
    return KnownMatch(server=SERVERS[slug], score=score, sure=True, why=[])


# The search sorts by rounded scores, and of those that are alike puts first what takes less to run.
MATCHES = [match("time", 0.61), match("github", 0.64), match("slack", 0.42)]


def test_alternatives_are_told_by_their_scores() -> None:
    assert [each.slug for each in alternatives(MATCHES, "slack")] == ["github", "time"]


def test_the_nearest_servers_of_a_failure_are_told_by_their_scores() -> None:
    order = GenerationOrder(
        task_id="task", owner_id=uuid4(), source="words", engine=EngineChoice.RULES, try_it=True
    )
    told = reason_for_none(Conclusion(order=order, text="clocks", matches=MATCHES))
    assert "The nearest known servers: github (0.64), time (0.61), slack (0.42)." in told


def test_a_server_that_its_authors_gave_up_comes_with_a_warning() -> None:
    archived = [server for server in SERVERS.values() if "servers-archived" in (server.homepage or "")]
    assert archived
    for server in archived:
        draft, _ = from_known(DraftKnown(task_id="task", number=1, match=match(server.slug, 0.9)), Wish())
        assert (
            f"{server.name} is archived by its authors: faults that are found stay in it." in draft.warnings
        )
    draft, _ = from_known(DraftKnown(task_id="task", number=1, match=match("time", 0.9)), Wish())
    assert draft.warnings == []
