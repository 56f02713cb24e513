"""Values as Ruby, Rails, kaminari and the Go events-processor read and write them; pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (Lago's column is `timestamp without time zone`, in UTC)
_YEARS_PER_CYCLE = 400
_CYCLE_SECONDS = 146_097 * 86_400
_USUAL_SECONDS = re.compile(r"(\d{1,11})\.(\d{3})", re.ASCII)
_BIG_DECIMAL = re.compile(
    r"\s*([+-]?(?:\d+(?:_\d+)*(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:[eEdD][+-]?\d+)?)\s*", re.ASCII
)
_NOT_FINITE = re.compile(r"\s*(?:NaN|[+-]?Infinity)\s*")
_DECIMAL_PREFIX = re.compile(r"\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)", re.ASCII)
_INTEGER_PREFIX = re.compile(r"\s*([+-]?\d+)", re.ASCII)
_GO_DECIMAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_AMOUNT_SCALE = Decimal("1e-15")
_LARGEST_CLICKHOUSE_DECIMAL = Decimal(10) ** 12
_DATE_FORMS = (
    (re.compile(r"(?P<Y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})"), re.compile(r"(?P<Y>\d{4})(?P<m>\d{2})(?P<d>\d{2})")),
    (re.compile(r"(?P<Y>\d{4})-(?P<m>\d{2})"), None),
    (re.compile(r"(?P<Y>\d{4})-(?P<j>\d{3})"), re.compile(r"(?P<Y>\d{4})(?P<j>\d{3})")),
    (re.compile(r"(?P<G>\d{4})-W(?P<V>\d{2})-(?P<u>\d)"), re.compile(r"(?P<G>\d{4})W(?P<V>\d{2})(?P<u>\d)")),
)
_DISTANT_YEAR = re.compile(r"(?P<Y>-\d{4,}|\+?\d{5,})(?P<rest>-.+)", re.ASCII)
_TIME = re.compile(
    r"(?P<H>\d{2}):?(?P<M>\d{2})(?::?(?P<S>\d{2})(?:[.,](?P<f>\d+))?)?"
    r"(?:(?P<z>Z)|(?P<sign>[+-])(?P<zh>\d{2})(?::?(?P<zm>\d{2}))?)?",
    re.IGNORECASE | re.ASCII,
)


class InvalidFormatError(ValueError):
    """Ruby's ArgumentError: the text is outside the grammar; Lago answers 422."""


class UnrescuedError(Exception):
    """An error that Lago does not rescue; it answers 500."""


def scalar(value: object) -> str | int | float | bool | None:
    """Return a scalar parameter as strong parameters let it pass: an array or object becomes nil."""
    return value if isinstance(value, str | int | float | bool) else None


def string_attribute(value: object) -> str | None:
    """Cast a parameter to a string column: numbers by their text, booleans to t and f."""
    if isinstance(value, str):
        return value
    cast = scalar(value)
    if isinstance(cast, bool):
        return "t" if cast else "f"
    return cast if cast is None else str(cast)


def is_blank(text: str | None) -> bool:
    """Rails' `blank?` of a string."""
    return text is None or not text.strip()


def event_microseconds(value: object, now: Callable[[], datetime], *, as_float: bool) -> int:
    """Return an event's instant in whole microseconds since 1970, the fraction cut off.

    `value` is Unix seconds in BigDecimal's grammar; absent, null and false mean `now`. `as_float` is the parsing below
    Lago 1.48. Raises `InvalidFormatError` for text outside the grammar, `UnrescuedError` for NaN and Infinity.
    """
    if isinstance(value, str) and not as_float and (usual := _USUAL_SECONDS.fullmatch(value)):
        return int(usual[1]) * 1_000_000 + int(usual[2]) * 1_000
    given = scalar(value)
    if given is None or given is False:
        return _microseconds(now().astimezone(UTC).replace(tzinfo=None))
    text = "true" if given is True else str(given)
    if _NOT_FINITE.fullmatch(text):
        raise UnrescuedError("FloatDomainError")
    found = _BIG_DECIMAL.fullmatch(text)
    if found is None:
        raise InvalidFormatError(text)
    seconds = Decimal(re.sub("[dD]", "e", found.group(1)).replace("_", ""))
    if abs(seconds) >= Decimal("1e13"):
        raise UnrescuedError("timestamp out of range")
    if as_float:
        seconds = Decimal(float(seconds))
    with localcontext() as context:
        context.prec = 60
        return math.floor(seconds * 1_000_000)


def timestamp_text(microseconds: int) -> str:
    """Write an instant as PostgreSQL reads it, for years beyond 9999 and before 1 too."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    year, rest = _year_and_second(seconds)
    shown = f"{year:04d}" if year > 0 else f"{1 - year:04d}"
    return f"{shown}{rest}.{fraction:06d}" + ("" if year > 0 else " BC")


def iso8601_milliseconds(microseconds: int) -> str:
    """Write an instant as Ruby's `iso8601(3)`: cut, not rounded, to the millisecond."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    year, rest = _year_and_second(seconds)
    return f"{year:04d}{rest}.{fraction // 1000:03d}Z"


@lru_cache(maxsize=10_000)
def _year_and_second(seconds: int) -> tuple[int, str]:
    """Return an instant's year, and the rest of its ISO text; kept, because each event's is written more than once."""
    cycles, rest = divmod(seconds, _CYCLE_SECONDS)
    moment = _EPOCH + timedelta(seconds=rest)
    return moment.year + cycles * _YEARS_PER_CYCLE, f"{moment:-%m-%dT%H:%M:%S}"


def seconds_text(moment: datetime | None) -> str | None:
    """Write a UTC moment to the second, as `iso8601` does."""
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def milliseconds_text(moment: datetime | None) -> str | None:
    """Write a UTC moment to the millisecond, cut off."""
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def date_filter(text: str) -> str:
    """Read a filter as `DateTime.iso8601` does and return it as PostgreSQL's UTC timestamp text.

    Raises `InvalidFormatError` for everything else, Unix seconds and a blank between date and time included.
    """
    date_text, separator, time_text = re.fullmatch(r"\s*([^Tt]*)([Tt]?)(.*?)\s*", text, re.DOTALL).groups()  # type: ignore[union-attr]
    cycles = 0
    if found := _DISTANT_YEAR.fullmatch(date_text):
        # The calendar repeats itself every 400 years, and Python's ends where Ruby's and PostgreSQL's go on.
        cycles, year = divmod(int(found["Y"]) - _EPOCH.year, _YEARS_PER_CYCLE)
        date_text = f"{year + _EPOCH.year:04d}{found['rest']}"
    try:
        day = _date(date_text)
        moment = _moment(day, time_text) if separator else day
    except (ValueError, OverflowError) as error:
        raise InvalidFormatError(text) from error
    return timestamp_text(_microseconds(moment) + cycles * _CYCLE_SECONDS * 1_000_000)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _date(text: str) -> datetime:
    for extended, basic in _DATE_FORMS:
        found = extended.fullmatch(text) or (basic.fullmatch(text) if basic else None)
        if found is None:
            continue
        parts = {name: int(value) for name, value in found.groupdict().items()}
        if "G" in parts:
            day = datetime.fromisocalendar(parts["G"], parts["V"], parts["u"])
        elif "j" in parts:
            day = datetime(parts["Y"], 1, 1) + timedelta(days=parts["j"] - 1)  # noqa: DTZ001  (UTC by definition)
            if day.year != parts["Y"]:
                raise ValueError(text)
        else:
            day = datetime(parts["Y"], parts["m"], parts.get("d", 1))  # noqa: DTZ001  (UTC by definition)
        return day
    raise ValueError(text)


def _moment(day: datetime, time_text: str) -> datetime:
    found = _TIME.fullmatch(time_text)
    if found is None:
        raise ValueError(time_text)
    hour, minute, second = int(found["H"]), int(found["M"]), int(found["S"] or 0)
    second -= second == 60  # a leap second is the second before it
    if minute > 59 or second > 59 or hour > 24 or (hour == 24 and (minute or second)):
        raise ValueError(time_text)
    moment = day + timedelta(hours=hour, minutes=minute, seconds=second)
    moment += timedelta(microseconds=int((found["f"] or "0")[:6].ljust(6, "0")))
    if found["sign"]:
        offset = timedelta(hours=int(found["zh"]), minutes=int(found["zm"] or 0))
        if offset < timedelta(days=1):  # Ruby ignores any other
            moment += -offset if found["sign"] == "+" else offset
    return moment


def integer_prefix(text: str) -> int:
    """Ruby's `String#to_i`: the leading digits, else 0."""
    found = _INTEGER_PREFIX.match(text)
    return int(found.group(1)) if found else 0


def amount_attribute(value: object) -> Decimal | None:
    """Cast a parameter to a decimal column of 15 decimals: the leading number, 0 for other text, nil for nil and none.

    Raises `UnrescuedError` for what the column refuses.
    """
    cast = scalar(value)
    if cast is None or cast == "":
        return None
    if isinstance(cast, str) and (found := _NOT_FINITE.fullmatch(cast)):
        if "Infinity" in cast:
            raise UnrescuedError("an infinite amount, which PostgreSQL refuses")
        return Decimal("NaN")
    found = _DECIMAL_PREFIX.match(str(cast))
    return _to_scale(Decimal(found.group(1))) if found else Decimal(0)


def _to_scale(amount: Decimal) -> Decimal:
    """Round an amount to its column's scale."""
    with localcontext() as context:
        context.prec = 60
        try:
            return amount.quantize(_AMOUNT_SCALE, ROUND_HALF_UP) if -amount.as_tuple().exponent > 15 else amount  # type: ignore[operator]
        except InvalidOperation as error:
            raise UnrescuedError("an amount out of range") from error


def decimal_text(number: Decimal) -> str:
    """Write a number as BigDecimal#to_s in Rails: fixed point, no trailing zeros, at least one decimal."""
    if number.is_nan():
        return "NaN"
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0")
    else:
        text += "."
    text = text + "0" if text.endswith(".") else text
    return "0.0" if text in ("-0.0", "0.0") else text


def go_value(value: object) -> str:
    """Go's `%v` of a decoded JSON value: what the events-processor takes as the event's quantity."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _go_float(float(value))
    return str(value)


def _go_float(number: float) -> str:
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    if not isinstance(exponent, int) or digits == (0,):
        return "0"
    written = "".join(map(str, digits))
    power = len(written) + exponent - 1
    minus = "-" if sign else ""
    if power < -4 or power >= 6:  # the shortest %g decides with a precision of six
        mantissa = written[0] + ("." + written[1:] if len(written) > 1 else "")
        return f"{minus}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"
    return f"{minus}{abs(Decimal(repr(number))):f}".removesuffix(".0")


def clickhouse_decimal(text: str) -> Decimal:
    """ClickHouse's `toDecimal128OrZero(text, 26)`: 0 for what is no number or does not fit."""
    if not _GO_DECIMAL.fullmatch(text):
        return Decimal(0)
    number = Decimal(text)
    return number if abs(number) < _LARGEST_CLICKHOUSE_DECIMAL else Decimal(0)
