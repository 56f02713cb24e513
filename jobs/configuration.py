"""Use case: show every setting with where it comes from and what is wrong with it, or an example of all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from jobs.errors import ReconcileError
from jobs.settings import SETTINGS, Setting, Settings

_HIDDEN = "********"
_INTRODUCTION = """\
# Settings of litellm-lago, with their defaults. Give this file as --config; the environment beats it.

"""
# An address may hold a password where none belongs.
_WITH_PASSWORD = re.compile(r"//[^/]*@")
_METER_EXAMPLE = """\
# A custom meter, one table per event of a spend log:
# [[meter_parts]]
# code = "llm_tokens"
# part = "total"
# skip_zero = false
# dimensions = { model = "model" }
# quantities = { total_tokens = "total_tokens" }
# carried = { response_cost = "spend" }
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as it may be shown to anybody."""

    name: str
    """Name in the configuration file."""
    variable: str
    """Environment variable."""
    value: str | None
    """Its text; asterisks for a secret; None where it is not set."""
    origin: str
    """The option, environment variable, file or default that set it, or `not set`."""
    problem: str
    """Why it cannot be used, and what would be right; empty where it can."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """All settings, and everything that is wrong with them."""

    settings: tuple[Shown, ...]
    """Every setting, in order."""
    problems: tuple[str, ...]
    """Everything that cannot be used, wherever it was set."""
    warnings: tuple[str, ...]
    """Environment variables that are no settings."""

    def document(self) -> dict[str, object]:
        """Return it as JSON."""
        return asdict(self)


def show(settings: Settings, problems: Iterable[ReconcileError]) -> Configuration:
    """Return every setting with its origin, and these problems; nothing secret is in it."""
    return Configuration(
        settings=tuple(_shown(setting, settings) for setting in SETTINGS),
        problems=tuple(map(str, problems)),
        warnings=settings.notes,
    )


def example() -> str:
    """Return a configuration file with every setting, its default and its meaning."""
    tables: dict[str, list[str]] = {"": []}
    for setting in SETTINGS:
        table, _, key = setting.name.rpartition(".")
        tables.setdefault(table, []).extend(_lines(setting, key))
    headed = ((f"[{table}]\n" if table else _INTRODUCTION) + "\n".join(lines) + "\n" for table, lines in tables.items())
    return "\n".join([*headed, _METER_EXAMPLE])


def _shown(setting: Setting[Any], settings: Settings) -> Shown:
    found = settings.values.get(setting.name)
    if found is None:
        return Shown(setting.name, setting.variable, None, settings.origin(setting.name), "")
    value = _HIDDEN if setting.secret or _WITH_PASSWORD.search(found.text) else found.text
    problem = found.problem.remedy if found.problem else ""
    return Shown(setting.name, setting.variable, value, found.origin, problem)


def _lines(setting: Setting[Any], key: str) -> list[str]:
    elsewhere = ", where a secret is better kept" if setting.secret else ""
    comment = f"# {setting.help} ({setting.variable}{elsewhere})"
    if setting.default is None:
        return [comment, f'# {key} = ""']
    plain = re.fullmatch(r"[0-9]+(\.[0-9]+)?|true|false", setting.default)
    return [comment, f"{key} = {setting.default if plain else json.dumps(setting.default)}"]
