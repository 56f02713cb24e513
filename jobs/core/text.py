"""Strangers' text, made safe to show: in a terminal, a log line, and a spreadsheet."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Excel and its kin read a cell as a formula by its first character, and split one at these separators in some locales.
_FORMULA = re.compile(r"(^|[;,|\t])(\s*)(?=[=+\-@＝＋－＠])")  # noqa: RUF001 - the full-width signs are read as formulas too
# What may make a formula of a printable text of ASCII: its first character, or a separator.
_MAY_BEGIN, _MAY_SPLIT = frozenset(" =+-@"), re.compile("[;,|]").search
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def visible(text: str) -> str:
    """Return the text with control, formatting and line-breaking characters written as visible escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in _HIDDEN else character
        for character in text
    )


def spreadsheet_safe(text: str) -> str:
    """Return visible text that no spreadsheet takes for a formula: an apostrophe stands before what would begin one."""
    is_plain = text.isascii() and text.isprintable() and text[:1] not in _MAY_BEGIN
    return text if is_plain and _MAY_SPLIT(text) is None else _made_safe(text)


# A report names few subscriptions and models many times.
@lru_cache(maxsize=4096)
def _made_safe(text: str) -> str:
    return _FORMULA.sub(r"\1\2'", visible(text))
