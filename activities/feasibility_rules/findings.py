"""What rules find: something that speaks against an idea, or for it, and where that comes from."""

from dataclasses import dataclass

from mcp_platform.contracts.evidence import Evidence, SourceKind

_LONGEST = 400


def short(text: str, longest: int = _LONGEST) -> str:
    """Give a text on one line, without characters that cannot be seen, and not too long."""
    plain = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * longest]).split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


@dataclass(frozen=True)
class Finding:
    """Something that speaks against an idea. Costs are hundredths, so that no order of adding matters."""

    rule: str
    risk: str
    kind: SourceKind
    source: str
    cost: int = 0
    advice: tuple[str, ...] = ()
    stop: bool = False
    """Whether the idea is not feasible for this alone."""

    @property
    def evidence(self) -> Evidence:
        """Say where it comes from."""
        return Evidence(statement=self.risk, kind=self.kind, source=short(self.source))


@dataclass(frozen=True)
class Merit:
    """Something that speaks for an idea, or is only good to know."""

    rule: str
    statement: str
    kind: SourceKind
    source: str
    gain: int = 0
    advice: tuple[str, ...] = ()

    @property
    def evidence(self) -> Evidence:
        """Say where it comes from."""
        return Evidence(statement=self.statement, kind=self.kind, source=short(self.source))
