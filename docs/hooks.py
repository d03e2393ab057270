"""Formulas become MathML when the site is built: browsers show it without a script, and nothing is fetched."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(?:span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</(?:span|div)>', re.DOTALL)

LONG = 40
"""Characters of a formula in a line of text that a phone may have no room for: it scrolls by itself."""


def on_page_content(content: str, **_: Any) -> str:
    """The page with every formula of arithmatex replaced."""
    return FORMULA.sub(lambda found: _formula(html.unescape(found[2]), block=found[1] == "["), content)


def _formula(tex: str, *, block: bool) -> str:
    made = convert(tex, display="block" if block else "inline")
    if block:
        return f'<div class="formula">{made}</div>'
    return f'<span class="formula">{made}</span>' if len(tex) > LONG else made
