"""Figures as Markdown tables on standard output."""

import sys
from collections.abc import Sequence


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write one table; all columns but the first are numbers."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines = [
        _line(head, widths),
        _line(["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])], widths),
    ]
    lines += [_line(row, widths) for row in rows]
    sys.stdout.write(f"\n{title}\n\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"
