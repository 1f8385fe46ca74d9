"""Reading what a classic builder writes: steps, lines, and which step failed with what output."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from activities.building import BuildFailed, BuildTranscript, Step

_STEP: Final = re.compile(r"^Step (\d+)/(\d+) : (.*)$")
_NOISE: Final = re.compile(r"^( ---> |Removing intermediate container |Successfully )")
_CODES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NPM_CHATTER: Final = re.compile(
    r"^npm (error|ERR!) (code|errno|syscall|path|command|A complete log|Log files|\s*$)|^npm (error|ERR!)$"
)
_NPM: Final = re.compile(r"^npm (?:error|ERR!) (?:\d{3} )?")
_LONGEST_LINE: Final = 10_000
_SHOWN_LINES: Final = 12
_LONGEST_COMMAND: Final = 120
_LONGEST_REASON: Final = 400
_KILLED: Final = 137


class BuildOutput:
    """Takes the events of one build.

    Args:
        transcript: Gets the lines.
        began: Is called as each step begins.
    """

    def __init__(self, transcript: BuildTranscript, began: Callable[[Step], None]) -> None:
        self._transcript = transcript
        self._began = began
        self._partial = ""
        self._step: Step | None = None
        self._last_words: list[str] = []
        self.finished = False
        """Whether the engine told of an image that came of it."""

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event.

        Raises:
            BuildFailed: It tells of a failure.
        """
        if "error" in event:
            self._end_line()
            detail = event.get("errorDetail") or {}
            raise BuildFailed(self.failure(str(detail.get("message") or event["error"]), detail.get("code")))
        if "aux" in event:
            self.finished = True
        if "stream" in event:
            *lines, self._partial = (self._partial + str(event["stream"])).split("\n")
            for line in lines:
                self._line(line)
            if len(self._partial) > _LONGEST_LINE:
                self._end_line()

    def failure(self, message: str, code: int | None = None) -> str:
        """Say which step failed, why, and what it wrote last."""
        if self._step is None:
            return f"the build did not begin: {message}"
        step = self._step
        command = step.command
        if len(command) > _LONGEST_COMMAND:
            command = f"{command[:_LONGEST_COMMAND]}…"
        ran = code is not None
        reason = _reason(self._last_words) if ran else None
        if code == _KILLED:
            reason = "it was killed, for want of memory or by hand"
        summary = f"step {step.number} of {step.total} ({command}) failed: {reason or message}"
        return "\n".join([summary[:1000], *self._last_words]) if ran else summary[:2000]

    def _end_line(self) -> None:
        line, self._partial = self._partial, ""
        if line:
            self._line(line)

    def _line(self, line: str) -> None:
        line = _CODES.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip()
        if not line or _NOISE.match(line):
            return
        self._transcript.add(line)
        if found := _STEP.match(line):
            self._step = Step(int(found[1]), int(found[2]), found[3])
            self._last_words = []
            self._began(self._step)
            return
        # As the transcript keeps it: without secrets, and not too long.
        self._last_words = [*self._last_words, self._transcript.lines[-1][:_LONGEST_REASON]][-_SHOWN_LINES:]


def _reason(lines: list[str]) -> str | None:
    """Give the line that tells most of why a command failed."""
    npm = [line for line in lines if _NPM.match(line) and not _NPM_CHATTER.match(line)]
    if npm:
        return _NPM.sub("", npm[0]).strip()
    errors = [line for line in lines if re.match(r"^\s*(ERROR|error|Error)\b", line)]
    if errors:
        return re.sub(r"^\s*(?:ERROR|error|Error):?\s*", "", errors[-1])
    return lines[-1] if lines else None
