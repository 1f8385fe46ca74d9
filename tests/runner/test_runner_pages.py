"""Pages in a browser may try any port on loopback; the runner answers none of them."""

import json

import aiohttp
import pytest

from tests.runner.conftest import Start
from tests.runner.test_runner_protocol import modern


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example", "Content-Type": "application/json"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json"}, 200),
    ],
    ids=["origin", "simple-request", "client"],
)
async def test_what_a_page_can_send_is_refused(start: Start, headers: dict[str, str], status: int) -> None:
    runner = await (await start("modern")).ready()
    body, own = modern("tools/call", name="echo", arguments={})
    async with (
        aiohttp.ClientSession() as http,
        http.post(runner.url, data=json.dumps(body), headers={**own, **headers}) as response,
    ):
        assert response.status == status
