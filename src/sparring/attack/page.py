"""What the reports share: one self-contained HTML file that runs nothing of what is in the data.

Every text of the data goes through `visible`. What is in the page itself is escaped by jinja2; what scripts show is
JSON that they turn into text nodes; and a content security policy allows nothing but the page's own script and style
sheet, by their hashes. Nothing is loaded from anywhere.
"""

import base64
import hashlib
import json
import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..errors import RunError
from .difference import visible

ROOT = Path(__file__).parents[1]
CODES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all; RunError if it cannot be written."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(page.encode())
        os.replace(partial, path)  # noqa: PTH105
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def fill(template: str, **values: Any) -> str:
    """A template, named from the package's folder, with values; `base` is the style and script that all pages share."""
    base = {"style": source("attack/page.css"), "script": source("attack/page.js")}
    return _environment().get_template(template).render(base=base, **values)


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"hash": _hash, "share": share, "number": number, "duration": duration, "cell": cell}
    return made


def source(name: str) -> Markup:
    """A style sheet or script of ours, named from the package's folder, to stand in a page as it is."""
    return Markup((ROOT / name).read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """The same value with every text visible, every number finite, and nothing but what JSON has."""
    if value is None or type(value) in (int, bool):
        return value
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float) else visible(str(value))


def embedded(data: Any) -> Markup:
    """JSON that can stand in a script element: ASCII, and no character that HTML knows."""
    text = json.dumps(plain(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(CODES))  # no quotes needed: it is the content of an element, not an attribute


def _hash(text: str) -> str:
    """As a content security policy names a style sheet or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()}'"


def share(value: float | None) -> str:
    """A share as percent."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def number(value: float | None) -> str:
    """A count or a mean of counts."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that people would use."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.{0 if seconds >= 10 else 1}f}\u00a0s"
    return f"{seconds / 60:.0f}\u00a0min" if seconds < 7200 else f"{seconds / 3600:.1f}\u00a0h"


def cell(value: Any) -> str:
    """A value of which nothing is known."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
