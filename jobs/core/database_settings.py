"""Where a PostgreSQL is and who reads it, from the variables that LiteLLM's deployments have, as they come."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, unquote, urlsplit

from jobs.errors import SettingError

DEFAULT_PORT = 5432

# What libpq understands in a connection URL and this product has no reason to change.
_LIBPQ_PARAMETERS = frozenset(
    """
    channel_binding connect_timeout gssencmode gsslib hostaddr keepalives keepalives_count keepalives_idle
    keepalives_interval krbsrvname load_balance_hosts options passfile require_auth ssl_max_protocol_version
    ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey sslmode sslnegotiation
    sslpassword sslrootcert sslsni target_session_attrs tcp_user_timeout
    """.split()
)
# What only Prisma (LiteLLM's database library) or SQLAlchemy understands: pools and caches this product does not have.
_DROPPED_PARAMETERS = frozenset(
    """
    application_name async_fallback client_encoding connection_limit max_connection_lifetime
    max_idle_connection_lifetime pgbouncer pool_timeout prepared_statement_cache_size single_use_connections
    socket_timeout sslaccept sslidentity statement_cache_size
    """.split()
)
# The parts of an address, which libpq also takes as parameters (`postgresql:///litellm?host=/run/postgresql`).
_ADDRESS_PARAMETERS = frozenset({"dbname", "host", "password", "port", "user"})

_UNEXPANDED = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_FOUR_PARTS = "DATABASE_HOST, DATABASE_NAME, DATABASE_USERNAME and DATABASE_PASSWORD"
_USE_PARTS = f"set {_FOUR_PARTS}, which need no encoding"


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where a PostgreSQL is and who reads it. Its text form never shows the password."""

    host: str
    """A host name, an address without brackets, or the folder of a Unix socket."""
    port: int
    """The TCP port."""
    name: str
    """The name of the database."""
    username: str
    """The database role."""
    password: str | None = field(repr=False)
    """The role's password, decoded; None where the server asks for none."""
    schema: str | None = None
    """The PostgreSQL schema of LiteLLM's tables; None takes the role's own search path."""
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Other libpq parameters; may be secret."""
    origin: str = "DATABASE_HOST"
    """The setting to look at when the address is wrong."""
    tables: str = "LiteLLM's tables"
    """What is read there, for messages."""
    time_index: str = '"LiteLLM_SpendLogs" ("startTime")'
    """The index that reading needs, for messages."""

    @property
    def address(self) -> str:
        """Return `host:port` as a person writes it, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def database_settings(
    host: str | None = None,
    name: str | None = None,
    username: str | None = None,
    password: str | None = None,
    url: str | None = None,
    schema: str | None = None,
) -> DatabaseSettings:
    """Return the connection settings that a LiteLLM deployment's DATABASE_* variables describe.

    The parts win over the URL, because a password with `@ / ? # [ ]` survives only there. Raise `SettingError` that
    names what is missing or malformed, and never shows a password or a URL.
    """
    if host:
        return _from_parts(host, name, username, password, schema, has_url=bool(url))
    if url:
        return _from_url(url, schema, "DATABASE_URL")
    if name or username or password:
        raise SettingError(
            "DATABASE_HOST is not set, though other parts of the connection are",
            "Set DATABASE_HOST to the host, or host:port, of LiteLLM's PostgreSQL",
        )
    raise SettingError(
        "no database is set",
        f"Set {_FOUR_PARTS}, or DATABASE_URL, as for LiteLLM",
    )


def store_settings(url: str) -> DatabaseSettings:
    """Return the connection settings that RECONCILE_LAGO_STORE_URL describes, of the PostgreSQL with Lago's events.

    Raise `SettingError` as `database_settings` does.
    """
    return replace(
        _from_url(url, None, "RECONCILE_LAGO_STORE_URL"),
        tables="Lago's table events",
        time_index='events (organization_id, "timestamp")',
    )


def _from_parts(
    host: str,
    name: str | None,
    username: str | None,
    password: str | None,
    schema: str | None,
    *,
    has_url: bool,
) -> DatabaseSettings:
    given = {"DATABASE_NAME": name, "DATABASE_USERNAME": username, "DATABASE_PASSWORD": password}
    missing = [setting for setting, text in given.items() if not text]
    if missing:
        raise SettingError(
            f"DATABASE_HOST is set, but {_listed(missing)} {'is' if len(missing) == 1 else 'are'} not",
            f"Set {_listed(missing)}" + (", or unset DATABASE_HOST to use DATABASE_URL" if has_url else ""),
        )
    for setting, text in {"DATABASE_HOST": host, **given, "DATABASE_SCHEMA": schema}.items():
        _refuse_unexpanded(setting, text or "", whole=setting == "DATABASE_PASSWORD")
    plain_host, its_port = _host_and_port(host.strip(), "DATABASE_HOST")
    return DatabaseSettings(
        host=plain_host,
        port=its_port or DEFAULT_PORT,
        name=(name or "").strip(),
        username=(username or "").strip(),
        password=password,
        schema=(schema or "").strip() or None,
    )


def _from_url(url: str, schema: str | None, setting: str) -> DatabaseSettings:
    _refuse_unexpanded(setting, url)
    parts = _split_url(url.strip(), setting)
    parameters = _url_parameters(parts.query, setting)
    user_part, _, address = parts.netloc.rpartition("@")
    username, _, password = user_part.partition(":")
    plain_host, its_port = _host_and_port(_decoded(address, setting), setting) if address else ("", None)
    if "port" in parameters:
        its_port = _port(parameters["port"], setting)
    found = {
        "host": parameters.get("host") or plain_host,
        "database name": parameters.get("dbname") or _decoded(parts.path.removeprefix("/"), setting),
        "username": parameters.get("user") or _decoded(username, setting),
    }
    missing = [part for part, text in found.items() if not text]
    if missing:
        raise SettingError(
            f"{setting} names no {_listed(missing)}",
            "Write it as postgresql://USERNAME:PASSWORD@HOST:PORT/NAME",
        )
    return DatabaseSettings(
        host=found["host"],
        port=its_port or DEFAULT_PORT,
        name=found["database name"],
        username=found["username"],
        password=parameters.get("password") or _decoded(password, setting) or None,
        schema=(schema or "").strip() or parameters.get("schema") or None,
        parameters=_libpq_parameters(parameters),
        origin=setting,
    )


def _split_url(url: str, setting: str) -> SplitResult:
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme.startswith("prisma"):
        raise SettingError(
            f"{setting} points to Prisma's own proxy, which speaks no PostgreSQL",
            _or_parts("Give PostgreSQL's own address", setting),
        )
    if not re.fullmatch(r"postgres(ql)?(\+[a-z0-9_]+)?", scheme):
        raise SettingError(f"{setting} does not begin with postgresql://", _or_parts("Correct it", setting))
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _unencoded(setting) from None  # The original text would show a piece of the password.
    if parts.fragment or "@" in parts.path + parts.query or "/" in parts.path.removeprefix("/"):
        raise _unencoded(setting)
    return parts


def _unencoded(setting: str) -> SettingError:
    return SettingError(
        f"{setting} cannot be taken apart: its username or password seems to hold @ / ? # [ or ] unencoded",
        _or_parts("Percent-encode them", setting),
    )


def _or_parts(remedy: str, setting: str) -> str:
    """Return the remedy, and for the address that can be given in parts that one too."""
    return f"{remedy}, or {_USE_PARTS}" if setting.startswith("DATABASE_") else remedy


def _url_parameters(text: str, setting: str) -> dict[str, str]:
    """Return the parameters of a URL; a `+` stays a `+`, as for libpq and Prisma."""
    parameters = {}
    for pair in filter(None, text.split("&")):
        name, _, value = pair.partition("=")
        parameters[_decoded(name, setting)] = _decoded(value, setting)
    known = _LIBPQ_PARAMETERS | _DROPPED_PARAMETERS | _ADDRESS_PARAMETERS | {"schema"}
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise SettingError(
            f"{setting} has the unknown parameter {_listed(unknown)}", "Remove it or correct its spelling"
        )
    return parameters


def _libpq_parameters(parameters: dict[str, str]) -> tuple[tuple[str, str], ...]:
    kept = {name: value for name, value in parameters.items() if name in _LIBPQ_PARAMETERS and value}
    if "sslcert" in kept and "sslkey" not in kept:
        # For Prisma `sslcert` is the authority to trust; for libpq it would be our own certificate.
        kept.setdefault("sslrootcert", kept.pop("sslcert"))
    return tuple(sorted(kept.items()))


def _decoded(text: str, setting: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _unencoded(setting) from None
    if "\0" in decoded:
        raise SettingError(f"{setting} holds %00, which PostgreSQL cannot store", "Correct it")
    return decoded


def _host_and_port(text: str, setting: str) -> tuple[str, int | None]:
    """Split off the port, if any; an IPv6 address without brackets and a socket folder have none."""
    if text.startswith("/") or (text.count(":") > 1 and not text.startswith("[")):
        return text, None
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text)
    host, its_port = bracketed.groups() if bracketed else text.partition(":")[::2]
    if not host or re.search(r"[\s\[\]/@]", host):
        raise SettingError(f"{setting} holds no usable host name", "Write it as host or host:port, without a scheme")
    return host, _port(its_port, setting) if its_port else None


def _port(text: str, setting: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text.strip()) and 0 < int(text) < 65536:
        return int(text)
    # The text is not shown: in a broken URL it is a piece of the password.
    raise SettingError(f"{setting} holds a port that is not a number from 1 to 65535", "Correct the part after the :")


def _refuse_unexpanded(setting: str, text: str, *, whole: bool = False) -> None:
    found = _UNEXPANDED.fullmatch(text) if whole else _UNEXPANDED.search(text)
    if found:
        raise SettingError(
            f"{setting} still holds $({found.group(1)}), which Kubernetes did not replace",
            _or_parts(
                f"Kubernetes replaces it only by an `env` entry that stands earlier in the same container: move "
                f"{found.group(1)} above {setting}",
                setting,
            ),
        )


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
