"""What a builder writes is cut into steps and lines, and its failures into reasons."""

from typing import Any

import pytest

from activities.build_failures import BuildOutput
from activities.building import KEPT_LINES, BuildFailed, BuildTranscript, Step
from mcp_platform.variables import Mask

STEP = {"stream": "Step 6/9 : RUN npm install\n"}


def failed(code: int) -> dict[str, Any]:
    """Give the event of a command that failed."""
    message = f"The command '/bin/sh -c npm install' returned a non-zero code: {code}"
    return {"errorDetail": {"code": code, "message": message}, "error": message}


def reason_of(*events: dict[str, Any], transcript: BuildTranscript | None = None) -> str:
    """Give the reason that a build with these events fails for."""
    output = BuildOutput(transcript or BuildTranscript(Mask()), lambda step: None)
    *before, last = events
    for event in before:
        output.take(event)
    with pytest.raises(BuildFailed) as error:
        output.take(last)
    return str(error.value)


def test_lines_that_come_in_pieces_are_put_together() -> None:
    transcript, steps = BuildTranscript(Mask()), list[Step]()
    output = BuildOutput(transcript, steps.append)
    for piece in (
        "Step 1/2 : FR",
        "OM base\n ---> 1234\n",
        "one\x1b[31m red\x1b[0m",
        "\r\nprogress 1%\rdone\n",
    ):
        output.take({"stream": piece})
    assert steps == [Step(1, 2, "FROM base")]
    assert transcript.lines == ["Step 1/2 : FROM base", "one red", "done"]


@pytest.mark.parametrize(
    ("written", "code", "reason"),
    [
        ("fine\nERROR: first\nERROR: No matching distribution found for x\n", 1,
         "No matching distribution found for x"),
        ("npm error code E404\nnpm error 404 Not Found - GET x\nnpm error A complete log of this run\n", 1,
         "Not Found - GET x"),
        ("compiling\nundefined reference\n", 2, "undefined reference"),
        ("half of a line", 2, "half of a line"),
        ("working\n", 137, "it was killed, for want of memory or by hand"),
        ("", 3, "The command '/bin/sh -c npm install' returned a non-zero code: 3"),
    ],
)  # fmt: skip
def test_the_line_that_tells_most_comes_first(written: str, code: int, reason: str) -> None:
    told = reason_of(STEP, {"stream": written}, failed(code)).splitlines()
    assert told[0] == f"step 6 of 9 (RUN npm install) failed: {reason}"
    assert told[1:] == written.splitlines()


def test_a_failure_before_the_first_step_says_so() -> None:
    assert reason_of({"error": "dockerfile parse error"}) == "the build did not begin: dockerfile parse error"


def test_a_build_that_writes_without_end_is_kept_in_bounds_and_without_secrets() -> None:
    transcript = BuildTranscript(Mask(["hunter2-hunter2"]))
    lines = [{"stream": f"{number} hunter2-hunter2 {'x' * 1000}\n"} for number in range(1000)]
    reason = reason_of(STEP, *lines, {"stream": "y" * 100_000}, failed(1), transcript=transcript)
    assert len(transcript.lines) == KEPT_LINES
    assert transcript.left_out == 1002 - KEPT_LINES
    assert max(len(line) for line in transcript.lines) <= 500
    assert len(reason) < 8_000
    assert "hunter2" not in reason + "".join(transcript.lines)
