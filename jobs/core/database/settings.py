"""Where a PostgreSQL is and who reads it: an address as libpq, Prisma and SQLAlchemy write it."""

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
_ADDRESS_PARAMETERS = frozenset({"dbname", "host", "password", "port", "schema", "user"})

_UNEXPANDED = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")
PARTS = "DATABASE_HOST, DATABASE_NAME, DATABASE_USERNAME and DATABASE_PASSWORD"
"""The variables that describe an address without encoding."""
_USE_PARTS = f"set {PARTS}, which need no encoding"


@dataclass(frozen=True, slots=True)
class Names:
    """What messages call the pieces of an address: variables of their own, or places in a URL."""

    host: str
    """The host."""
    port: str
    """The port."""
    name: str
    """The name of the database."""
    username: str
    """The role."""
    password: str
    """Its password."""
    parameters: str
    """The parameters of TLS and of libpq."""
    schema: str
    """Where to name another schema, with {} for it."""


def names_in_url(setting: str) -> Names:
    """Return what the pieces of this URL are called."""
    return Names(
        host=setting,
        port=setting,
        name=f"the database name in {setting}",
        username=f"the username in {setting}",
        password=f"the password in {setting}",
        parameters=setting,
        schema=f"add schema={{}} to the parameters of {setting}",
    )


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
    more_hosts: tuple[tuple[str, int], ...] = ()
    """Further hosts with their ports, tried in this order where the first will not do."""
    iam_token: bool = field(default=False)
    """Whether the password is a token of AWS RDS, made anew for each connection."""
    region: str | None = None
    """The AWS region of such a token; None for the one that AWS's own configuration names."""
    given_names: Names | None = field(default=None, repr=False)
    """What messages call its pieces; None for those of a URL, the one that `origin` names."""
    dropped: tuple[str, ...] = field(default=())
    """Parameters of the URL that nobody here understands."""

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Return every host with its port, in the order in which they are tried."""
        return ((self.host, self.port), *self.more_hosts)

    @property
    def address(self) -> str:
        """Return `host:port` as a person writes it, an IPv6 address in brackets; several with commas."""
        return ",".join(
            f"[{host}]:{port}" if ":" in host and host[0] != "/" else f"{host}:{port}" for host, port in self.hosts
        )

    @property
    def names(self) -> Names:
        """Return what messages call its pieces."""
        return self.given_names or names_in_url(self.origin)


def store_settings(url: str) -> DatabaseSettings:
    """Return the connection settings that RECONCILE_LAGO_STORE_URL describes, of the PostgreSQL with Lago's events.

    Raise `SettingError` as `url_settings` does.
    """
    return replace(
        url_settings(url, "RECONCILE_LAGO_STORE_URL"),
        tables="Lago's table events",
        time_index='events (organization_id, "timestamp")',
    )


def url_settings(url: str, setting: str, *, needs_user: bool = True) -> DatabaseSettings:
    """Return the connection settings that a `postgresql://` URL describes.

    Raise `SettingError` that names the setting and what is missing or malformed, and never shows a password or the URL.
    """
    refuse_unexpanded(setting, url)
    parts = _split_url(url.strip(), setting)
    parameters = _url_parameters(parts.query, setting)
    user_part, _, address = parts.netloc.rpartition("@")
    username, _, password = user_part.partition(":")
    hosts = read_hosts(parameters.get("host") or _decoded(address, setting), setting, parameters.get("port"))
    found = {
        "host": hosts[0][0],
        "database name": parameters.get("dbname") or _decoded(parts.path.removeprefix("/"), setting),
        "username": parameters.get("user") or _decoded(username, setting),
    }
    missing = [part for part, text in found.items() if not text and (needs_user or part == "database name")]
    if missing:
        raise SettingError(
            f"{setting} names no {listed(missing)}",
            "Write it as postgresql://USERNAME:PASSWORD@HOST:PORT/NAME",
        )
    known = _LIBPQ_PARAMETERS | _DROPPED_PARAMETERS | _ADDRESS_PARAMETERS
    return DatabaseSettings(
        host=hosts[0][0],
        port=hosts[0][1],
        name=found["database name"],
        username=found["username"],
        password=parameters.get("password") or _decoded(password, setting) or None,
        schema=parameters.get("schema") or None,
        parameters=_libpq_parameters(parameters),
        origin=setting,
        more_hosts=hosts[1:],
        dropped=tuple(sorted(set(parameters) - known)),
    )


def read_hosts(text: str, setting: str, ports: str | None = None) -> tuple[tuple[str, int], ...]:
    """Return each host of `h1:1,h2:2` with its port; `ports` is one port for all, or one for each host.

    An empty text is one host without a name. Raise `SettingError` for what is no host, no port, or two different ports.
    """
    texts = [part.strip() for part in text.split(",")]
    numbers = [] if ports is None else [_port(part, setting) for part in ports.split(",")]
    if len(numbers) not in (0, 1, len(texts)):
        raise SettingError(
            f"{setting} names {len(texts)} hosts and {len(numbers)} ports", "Give one port, or one for each host"
        )
    hosts = []
    for place, part in enumerate(texts):
        host, its_port = _host_and_port(part, setting) if part or len(texts) > 1 else ("", None)
        given = numbers[place % len(numbers)] if numbers else None
        hosts.append((host, given or its_port or DEFAULT_PORT))
    return tuple(hosts)


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
    """Split off the port, if any; an IPv6 address without brackets has none."""
    folder = re.fullmatch(r"(/.*?)(?::([0-9]{1,5}))?", text)
    if folder:  # its name may hold colons itself, as that of a cloud's proxy does
        return folder.group(1), _port(folder.group(2), setting) if folder.group(2) else None
    if text.count(":") > 1 and re.fullmatch(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?", text):
        return text, None
    scheme = _SCHEME.match(text)
    if scheme:
        raise SettingError(
            f"{setting} begins with {scheme.group(0)}, and a host has no scheme",
            "Write it as host or host:port"
            + (", or set DATABASE_URL to the whole address" if setting.startswith("DATABASE_HOST") else ""),
        )
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


def refuse_unexpanded(setting: str, text: str, *, whole: bool = False) -> None:
    """Raise `SettingError` for a `$(NAME)` that Kubernetes left; with `whole` only for a text that is nothing else."""
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


def listed(names: list[str]) -> str:
    """Return the names as a sentence lists them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
