"""How the text of a setting is read; each raises `ValueError` with what would be right."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs.core.doubts import DOUBTED
from jobs.core.durations import parse_duration
from jobs.core.kinds import Cause, ChargeBy
from jobs.core.spreading import MOST_PARTS
from jobs.core.telling.notification import NotifyOn

_MOST_MARKUP, _MARKUP_DECIMALS = Decimal(1_000_000), 12
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
# Far enough from what Python can hold that any window can be widened, and any zone be applied.
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def parse_text(text: str) -> str:
    """Return a text that is not empty, as it is."""
    if not text.strip():
        raise ValueError("give it a value, or leave it out")
    return text


def parse_flag(text: str) -> bool:
    """Read true or false."""
    # Those that LiteLLM reads too.
    words = dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True)
    words |= dict.fromkeys(("0", "off", "f", "false", "n", "no"), False)
    if text.strip().lower() not in words:
        raise ValueError("write true or false")
    return words[text.strip().lower()]


def parse_path(text: str) -> Path:
    """Read the path of a file or folder."""
    return Path(parse_text(text))


def parse_count(text: str) -> int:
    """Read a whole number from 1 on."""
    if not _WHOLE_NUMBER.fullmatch(text.strip()) or int(text) < 1:
        raise ValueError("write a whole number from 1 to 999999999")
    return int(text)


def parse_bound(text: str) -> int:
    """Read a whole number from 0 on."""
    if not _WHOLE_NUMBER.fullmatch(text.strip()):
        raise ValueError("write a whole number from 0 to 999999999")
    return int(text)


def parse_slice_length(text: str) -> timedelta:
    """Read a duration of an hour or more."""
    length = parse_duration(text)
    if length < timedelta(hours=1):
        raise ValueError("write a duration of an hour or more")
    return length


def parse_rate(text: str) -> float:
    """Read a number of requests per second."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not 0 < rate <= 10_000:
        raise ValueError("write a number of requests per second above 0")
    return rate


def parse_amount(text: str) -> Decimal:
    """Read a number above 0, exactly."""
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0 or abs(amount.adjusted()) > 30:
        raise ValueError("write a number above 0, with 30 digits at most")
    return amount


def parse_markup(text: str) -> Decimal:
    """Read a factor above 0, exactly: a price has few digits."""
    markup = parse_amount(text)
    exponent = markup.as_tuple().exponent
    if markup >= _MOST_MARKUP or not isinstance(exponent, int) or exponent < -_MARKUP_DECIMALS:
        raise ValueError(f"write a number above 0 and below {_MOST_MARKUP}, with {_MARKUP_DECIMALS} decimals at most")
    return markup


def parse_currency(text: str) -> str:
    """Read the code of a currency."""
    currency = text.strip().upper()
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha()):
        raise ValueError("write three letters, as in USD")
    return currency


def parse_share(text: str) -> Decimal:
    """Read a share, above 0 and up to 1."""
    share = parse_amount(text)
    if share > 1:
        raise ValueError("write a number above 0 and up to 1")
    return share


def parse_zone(text: str) -> str:
    """Return the name of a time zone."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("write a name of the time zone database, such as Asia/Seoul") from error
    return text


def parse_instant(text: str) -> datetime:
    """Read an ISO-8601 instant or a day as an aware time in UTC; raise `ValueError` where it has no zone."""
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError("write a day (2026-11-01) or an instant with its zone (2026-11-01T00:00:00Z)") from error
    if instant.tzinfo is None:
        if len(text.strip()) != len("2026-11-01"):
            raise ValueError("it has no time zone; write one, as in 2026-11-01T00:00:00Z")
        instant = instant.replace(tzinfo=UTC)
    if not _EARLIEST <= instant.replace(tzinfo=UTC) < _LATEST:
        raise ValueError("write an instant of the years 1970 to 9998")
    return instant.astimezone(UTC)


def parse_memory(text: str) -> str:
    """Return an amount of memory in DuckDB's words."""
    number, unit = text.strip()[:-2], text.strip()[-2:].upper()
    if unit not in {"MB", "GB"} or not _WHOLE_NUMBER.fullmatch(number) or int(number) < 1:
        raise ValueError("write a whole number and MB or GB, such as 1GB")
    return text.strip()


def parse_charge_by(text: str) -> tuple[ChargeBy, str | None]:
    """Read whose id is the subscription, with the path into the metadata where it stands there."""
    if text == "key_alias":
        return ChargeBy.METADATA, "user_api_key_alias"
    if text.startswith("metadata.") and len(text) > len("metadata."):
        return ChargeBy.METADATA, text.removeprefix("metadata.")
    choices = [choice.value for choice in ChargeBy if choice is not ChargeBy.METADATA]
    if text not in choices:
        raise ValueError(f"write one of {', '.join(choices)}, key_alias or metadata.<path>")
    return ChargeBy(text), None


def parse_events_from(text: str) -> str:
    """Return where recorded events are read."""
    if text not in {"api", "postgres", "clickhouse"}:
        raise ValueError("write api, postgres or clickhouse")
    return text


def parse_gateway(text: str) -> str:
    """Return a Pushgateway's address."""
    wrong = "write an address such as http://pushgateway:9091"
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise ValueError(wrong) from error
    if not usable or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f\x7f]", text.strip()):
        raise ValueError(wrong)
    return text.strip()


def parse_scheduler(text: str) -> str:
    """Return the address of a Dask scheduler."""
    wrong = "write the scheduler's address, tcp://HOST:8786, or tls:// where it takes TLS"
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in {"tcp", "tls"} and parts.hostname and parts.port
    except ValueError as error:
        raise ValueError(wrong) from error
    if not usable or parts.username or parts.path or parts.query or not re.fullmatch(r"[!-~]+", text.strip()):
        raise ValueError(wrong)
    return text.strip()


def parse_parts(text: str) -> int:
    """Read a number of parts."""
    if not _WHOLE_NUMBER.fullmatch(text.strip()) or not 1 <= int(text) <= MOST_PARTS:
        raise ValueError(f"write a whole number from 1 to {MOST_PARTS}")
    return int(text)


def parse_webhook(text: str) -> str:
    """Return a webhook's address, which may have a query."""
    wrong = "write the whole address, as in https://chat.example/hooks/…"
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise ValueError(wrong) from error
    if not usable or not re.fullmatch(r"[!-~]+", text.strip()):
        raise ValueError(wrong)
    return text.strip()


def parse_notify_on(text: str) -> NotifyOn:
    """Read how a command has to end for a webhook to be told."""
    if text not in set(NotifyOn):
        raise ValueError(f"write {', '.join(NotifyOn)}")
    return NotifyOn(text)


def parse_causes(text: str) -> frozenset[Cause]:
    """Read names of causes that speak against a setting, with commas between them; none where empty."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if any(name not in set(DOUBTED) for name in names):
        raise ValueError(f"write some of {', '.join(DOUBTED)}, with commas between them")
    return frozenset(map(Cause, names))


def parse_template(text: str) -> str:
    """Return a template of transaction ids."""
    if "{request_id}" not in text:
        raise ValueError("it must contain {request_id}, and {part} where a request makes several events")
    return text


def as_sentence(error: ValueError) -> str:
    """Return what was wrong with a text, to stand behind a full stop."""
    text = str(error)
    return text[:1].upper() + text[1:]
