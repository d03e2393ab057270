"""Tables in Markdown."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Of texts that are Markdown already; no cell can break out of it."""
    return "\n".join(aligned(head, [[cell.replace("|", "\\|") for cell in row] for row in rows], numbers=False)[:-1])


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> list[str]:
    """The same line by line, with an empty one at the end, of cells without bars or with escaped ones.

    numbers: whether all columns but the first hold numbers, which stand to the right.
    """
    ruler = ["---"] + ["---:" if numbers else "---"] * (len(head) - 1)
    return [*("| " + " | ".join(row) + " |" for row in (head, ruler, *rows)), ""]
