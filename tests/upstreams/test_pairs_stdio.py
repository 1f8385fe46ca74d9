"""The same pairs, with a server on standard input and output behind its runner."""

import sys
from collections.abc import AsyncIterator

import pytest

from gateway.upstreams.upstream import Upstream
from tests.runner.conftest import start_runner
from tests.upstreams.conftest import Desk
from tests.upstreams.test_pairs import (  # noqa: F401 - collected here, with this upstream
    test_a_call_that_its_caller_leaves_is_cancelled_at_the_server,
    test_a_modern_client_listens_to_any_server,
    test_a_server_asks_its_caller_for_a_sample_input_and_roots,
    test_an_older_client_hears_of_the_resources_that_it_subscribed_to,
    test_log_messages_reach_a_client_that_set_a_level,
    test_nobody_is_asked_where_nobody_can_be,
    test_progress_reaches_the_caller_with_its_own_token,
    test_tools_resources_prompts_and_completions_answer_in_the_clients_era,
    test_what_is_not_of_the_modern_protocol_is_no_method_there,
    test_what_the_client_refuses_is_the_servers_to_know,
)
from tests.waiting import in_one_task

_FIXTURE = (sys.executable, "-m", "tests.conformance.everything", "--transport", "stdio", "--era")

# Half of what is tested here is deprecated, and the SDK's server says so.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")


@pytest.fixture(scope="module", params=["legacy", "modern"])
async def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Run a server of each era behind a runner; its address."""
    running = start_runner(tmp_path_factory.mktemp("runner"), *_FIXTURE, request.param)
    async with in_one_task(running) as runner:
        await runner.ready()
        yield runner.url


@pytest.fixture
async def upstream(address: str, desk: Desk) -> AsyncIterator[Upstream]:
    """Give that server as an upstream."""
    opened = desk.open(address)
    yield opened
    await opened.close()
