"""Where values come from: an option beats the environment, the environment beats the file, and that the default."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.core.database.settings import url_settings
from jobs.core.litellm.variables import chosen_database, left_out, without_effect
from jobs.core.meters import AGENT_SDK_CODES, AMOUNT, Amount, MeterPart, check_parts, custom, preset, with_amounts
from jobs.errors import SettingError
from jobs.settings.declarations import BY_NAME, SETTINGS
from jobs.settings.declared import lago, run
from jobs.settings.setting import Setting, T
from jobs.settings.texts import as_sentence, parse_path

_OUR_VARIABLES = "RECONCILE_"
_DATABASE = "database."
_MISSPELLED_CODE = "LAGO_EVENT_CODE"
_RENAME_CODE = (
    f"{_MISSPELLED_CODE} is taken for LAGO_API_EVENT_CODE here, but LiteLLM's callback does not know it "
    "and sends nothing: rename it"
)


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value and where it came from."""

    value: Any
    """What the text means; that of the default, if any, where the text cannot be used."""
    origin: str
    """The option, variable, file or default that set it."""
    text: str
    """The text as it was given."""
    problem: SettingError | None = None
    """Why the text cannot be used."""


class Settings:
    """Every setting's value and origin; a value that is needed but missing is asked for by name."""

    def __init__(
        self,
        values: Mapping[str, Value],
        meter_tables: list[dict[str, Any]],
        misspelled: tuple[tuple[str, str], ...],
        problems: tuple[SettingError, ...],
    ) -> None:
        """Take the values by setting name, the `[[meter_parts]]` tables, and what is wrong."""
        self.values = values
        self._meter_tables = meter_tables
        self.misspelled = misspelled
        """Variables that do not do what they seem to, each with what there is to know about it."""
        self.problems = problems
        """Everything about the configuration file and single values that cannot be used."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what the log should say about variables that do not do what they seem to."""
        return tuple(remedy for _, remedy in self.misspelled)

    def optional(self, setting: Setting[T]) -> T | None:
        """Return a setting's value, or None where it has none."""
        found = self.values.get(setting.name)
        return found.value if found else None

    def required(self, setting: Setting[T]) -> T:
        """Return a setting's value; raise `SettingError` naming its variable where it has none."""
        found = self.optional(setting)
        if found is None:
            raise not_set(setting)
        return found

    def origin(self, name: str) -> str:
        """Return where the value of the setting of this name came from."""
        found = self.values.get(name)
        return found.origin if found else "not set"

    def meter(self) -> tuple[MeterPart, ...]:
        """Return the configured meter's parts; raise `SettingError` where it cannot be used."""
        name = self.required(run.METER)
        code = self.optional(lago.EVENT_CODE)
        if name == "custom":
            parts = custom(self._meter_tables, code or "")
        elif name in AGENT_SDK_CODES:
            parts = preset(name, code or AGENT_SDK_CODES[name])
        else:
            parts = check_parts(preset(name, self.required(lago.EVENT_CODE)))
        markup = self.optional(run.MARKUP)
        if markup is None and any(AMOUNT in (source for _, source in part.carried) for part in parts):
            raise not_set(run.MARKUP)
        return with_amounts(parts, None if markup is None else Amount(markup, self.required(run.AMOUNT_CURRENCY)))


def not_set(setting: Setting[Any]) -> SettingError:
    """Return the error for a setting that is needed and has no value."""
    return SettingError(f"{setting.variable} is not set", f"It is: {setting.help}")


def load_settings(
    environment: Mapping[str, str], config_file: Path | None = None, options: Mapping[str, str] | None = None
) -> Settings:
    """Read every setting; raise `SettingError` naming the first one that is wrong and where it was set.

    `options` holds the command line's texts by setting name.
    """
    settings = survey_settings(environment, config_file, options)
    for problem in settings.problems:
        raise problem
    return settings


def survey_settings(
    environment: Mapping[str, str], config_file: Path | None = None, options: Mapping[str, str] | None = None
) -> Settings:
    """Read every setting, and keep what is wrong beside what can be used instead of raising it."""
    problems: list[SettingError] = []
    file_texts, meter_tables = _read_config(config_file, problems) if config_file else ({}, [])
    misspelled = [*_misspelled(environment)]
    if not environment.get("LAGO_API_EVENT_CODE") and environment.get(_MISSPELLED_CODE):
        environment = {**environment, "LAGO_API_EVENT_CODE": environment[_MISSPELLED_CODE]}
        misspelled.insert(0, (_MISSPELLED_CODE, _RENAME_CODE))
    values = {}
    for setting in SETTINGS:
        sources = (
            (
                (options or {}).get(setting.name),
                f"option --{setting.name.rpartition('.')[2].replace('_', '-')}",
            ),
            (environment.get(setting.variable) or None, f"environment {setting.variable}"),
            (file_texts.get(setting.name), f"{config_file}: {setting.name}"),
            (setting.default, "default"),
        )
        text, origin = next(((text, origin) for text, origin in sources if text is not None), (None, ""))
        if text is not None:
            values[setting.name] = _value(setting, text, origin)
    misspelled += [*without_effect(environment), *_of_the_database(values), *_left_out(values)]
    problems += [value.problem for value in values.values() if value.problem is not None]
    return Settings(values, meter_tables, tuple(misspelled), tuple(problems))


def given_database(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return what is set of the address of LiteLLM's database, as `chosen_database` takes it."""
    return {name.removeprefix(_DATABASE): value.value for name, value in values.items() if name.startswith(_DATABASE)}


def _of_the_database(values: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    """Return which variables of the database do not have the effect that they seem to have."""
    try:
        return chosen_database(given_database(values))[1]
    except SettingError:
        return ()  # The command that needs the database tells it.


def _left_out(values: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    """Yield the other addresses of PostgreSQL that have parameters which nobody knows."""
    for name in ("lago.store_url", "ledger_url"):
        text = values[name].value if name in values else None
        if isinstance(text, str) and text.strip().lower().startswith("postgres"):
            with suppress(SettingError):  # The command that needs the address tells it.
                yield from left_out(url_settings(text, BY_NAME[name].variable, needs_user=False))


def _misspelled(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables that look like ours and are not, each with what to do about it."""
    # Without what they share: it would make every two of them alike.
    known = [setting.variable.removeprefix(_OUR_VARIABLES) for setting in SETTINGS]
    for name in sorted(environment):
        own = name.removeprefix(_OUR_VARIABLES)
        if own != name and own not in known:
            nearest = difflib.get_close_matches(own, known, n=1)
            yield (
                name,
                f"{name} is no setting: {f'did you mean {_OUR_VARIABLES}{nearest[0]}?' if nearest else 'remove it'}",
            )


def termination_log(environment: Mapping[str, str], config_file: Path | None) -> Path | None:
    """Return where the verdict goes, even where other settings are wrong: just these are worth a word there."""
    text: str | None = environment.get("RECONCILE_TERMINATION_LOG")
    if not text and config_file is not None:
        text = _read_config(config_file, [])[0].get("termination_log")
    return Path(text) if text else None


def _value(setting: Setting[Any], text: str, origin: str) -> Value:
    try:
        return Value(_parse(setting, text), origin, text)
    except ValueError as error:
        shown = "its value" if setting.secret else repr(text)
        problem = SettingError(f"{shown} cannot be used for {setting.name} ({origin})", as_sentence(error))
    instead = None if setting.default is None else setting.parse(setting.default)
    return Value(instead, origin, text, problem)


def _parse(setting: Setting[Any], text: str) -> Any:
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    if setting.parse is not parse_path:
        text.encode()  # a lone surrogate, as the environment has for bytes that are no UTF-8, is a ValueError
    return setting.parse(text)


def _read_config(path: Path, problems: list[SettingError]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return what the file sets and its meter tables, and add what is wrong with it to `problems`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what, remedy = (
            f"cannot read the configuration file {str(path)!r}: {error.strerror}",
            "Give --config one that can be",
        )
        problems.append(SettingError(what, remedy))
        return {}, []
    except (ValueError, RecursionError) as error:
        what = f"the configuration file {str(path)!r} is not valid TOML: {error}"
        problems.append(SettingError(what, "Correct it at that place"))
        return {}, []
    meter_tables = content.pop("meter_parts", [])
    if not isinstance(meter_tables, list) or not all(isinstance(table, dict) for table in meter_tables):
        problems.append(
            SettingError(f"{path}: meter_parts is no list of tables", "Head each part with [[meter_parts]]")
        )
        meter_tables = []
    return dict(_flatten(content, path, problems)), meter_tables


def _flatten(
    table: Mapping[str, Any], path: Path, problems: list[SettingError], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict):
            yield from _flatten(value, path, problems, f"{name}.")
        elif name not in BY_NAME:
            nearest = difflib.get_close_matches(name, BY_NAME, n=1)
            remedy = (
                f"Did you mean {nearest[0]!r}?" if nearest else "Remove it; `litellm-lago config example` has them all"
            )
            problems.append(SettingError(f"{path} sets {name!r}, which is not a setting", remedy))
        elif isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, str | int | float | datetime):
            yield name, value.isoformat() if isinstance(value, datetime) else str(value)
        else:
            remedy = "Write a text, a number, true, false or a time"
            problems.append(SettingError(f"{path}: {name} is of no usable type", remedy))
