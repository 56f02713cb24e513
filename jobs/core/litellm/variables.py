"""Which of LiteLLM's variables say where its database is, and which of them it goes by: LiteLLM's own order.

The list is held against LiteLLM's code by `tests/core/test_litellm_variables.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobs.core.database.settings import (
    PARTS,
    DatabaseSettings,
    Names,
    listed,
    read_hosts,
    refuse_unexpanded,
    url_settings,
)
from jobs.errors import SettingError

READ = (
    *("DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME", "DATABASE_USER", "DATABASE_USERNAME", "DATABASE_PASSWORD"),
    *("DATABASE_SCHEMA", "DATABASE_SSLMODE", "DATABASE_SSLROOTCERT", "DATABASE_URL", "DIRECT_URL"),
    *("DATABASE_URL_READ_REPLICA", "DATABASE_HOST_READ_REPLICA", "DATABASE_PORT_READ_REPLICA"),
    *("DATABASE_NAME_READ_REPLICA", "DATABASE_USER_READ_REPLICA", "DATABASE_USERNAME_READ_REPLICA"),
    *("DATABASE_PASSWORD_READ_REPLICA", "DATABASE_SCHEMA_READ_REPLICA", "IAM_TOKEN_DB_AUTH"),
)
"""The variables that have an effect here."""

_POOL = "it is about LiteLLM's pool of connections, and this job has none"
WITHOUT_EFFECT = {
    "AZURE_POSTGRESQL_AUTH": "this job makes no Microsoft Entra tokens: give it a role with a password",
    "DATABASE_DISABLE_PREPARED_STATEMENTS": "this job prepares no statements",
    "DATABASE_MAX_IDLE_CONNECTION_LIFETIME": _POOL,
    "LITELLM_PGBOUNCER_ENABLED": _POOL,
}
"""LiteLLM's other variables about its database, each with why it has none."""

Note = tuple[str, str]
"""A variable that does not do what it seems to, and what there is to know about it."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """An address in variables of its own, each text with the variable that it comes from."""

    host: Note
    port: Note
    name: Note
    username: Note
    password: Note
    schema: Note
    sslmode: Note
    sslrootcert: Note

    def settings(self, *, iam_token: bool) -> DatabaseSettings:
        """Return what they describe; raise `SettingError` for what is missing or malformed."""
        self._refuse_missing()
        for variable, text in (self.host, self.port, self.name, self.username, self.schema):
            refuse_unexpanded(variable, text)
        refuse_unexpanded(*self.password, whole=True)
        hosts = self._hosts()
        given_mode = self.sslmode[1].strip() or ("verify-full" if self.sslrootcert[1].strip() else "")
        tls = {"sslmode": given_mode, "sslrootcert": self.sslrootcert[1].strip()}
        return DatabaseSettings(
            host=hosts[0][0],
            port=hosts[0][1],
            name=self.name[1].strip(),
            username=self.username[1].strip(),
            password=None if iam_token else self.password[1] or None,
            schema=self.schema[1].strip() or None,
            parameters=tuple((name, text) for name, text in tls.items() if text),
            origin=self.host[0],
            more_hosts=hosts[1:],
            iam_token=iam_token,
            given_names=Names(
                host=self.host[0],
                port=self.port[0] if self.port[1] else self.host[0],
                name=self.name[0],
                username=self.username[0],
                password=self.password[0],
                parameters=f"{self.sslmode[0]} and {self.sslrootcert[0]}",
                schema=f"set {self.schema[0]} to {{}}",
            ),
        )

    def _refuse_missing(self) -> None:
        missing = [variable for variable, text in (self.name, self.username) if not text.strip()]
        if missing:
            raise SettingError(
                f"{self.host[0]} is set, but {listed(missing)} {'is' if len(missing) == 1 else 'are'} not",
                f"Set {listed(missing)}, or DATABASE_URL alone",
            )

    def _hosts(self) -> tuple[tuple[str, int], ...]:
        host, port = self.host[1].strip(), self.port[1].strip()
        if not port:
            return read_hosts(host, self.host[0])
        if "://" in port:
            raise SettingError(
                f"{self.port[0]} holds an address, as Kubernetes sets it for a Service of that name, and no port",
                f"Set {self.port[0]} to the port, or enableServiceLinks: false for the pod",
            )
        own = read_hosts(host, self.host[0])
        # A stand-in for each host: what is wrong now is wrong with the port.
        wanted = read_hosts(",".join("h" for _ in own), self.port[0], port)
        differing = [
            named
            for part, (_, named), (_, number) in zip(host.split(","), own, wanted, strict=True)
            if _names_port(part.strip()) and named != number
        ]
        if differing:
            raise SettingError(
                f"{self.host[0]} names port {differing[0]} and {self.port[0]} another", "Leave one of them out"
            )
        return tuple((name, number) for (name, _), (_, number) in zip(own, wanted, strict=True))


def database_settings(
    host: str | None = None,
    name: str | None = None,
    username: str | None = None,
    password: str | None = None,
    url: str | None = None,
    schema: str | None = None,
    **others: Any,
) -> DatabaseSettings:
    """Return where LiteLLM's spend logs are read; see `chosen_database`, whose notes this leaves out."""
    given = {"host": host, "name": name, "username": username, "password": password, "url": url, "schema": schema}
    return chosen_database({**given, **others})[0]


def chosen_database(given: Mapping[str, Any]) -> tuple[DatabaseSettings, tuple[Note, ...]]:
    """Return where LiteLLM's spend logs are read, and which variables have no effect on that.

    `given` holds texts by the names that the settings have below `database.`: `host`, `port`, `name`, `user`,
    `username`, `password`, `schema` and `url`, each also with `_read_replica`; `sslmode`, `sslrootcert`, `direct_url`,
    `aws_region_name`, `aws_region`, and the flag `iam_token_db_auth`. The order is LiteLLM's: a replica before the
    primary, a URL before parts, but parts before a URL where the password is a token. A URL that cannot be taken apart
    gives way to parts that can. Raise `SettingError` that names what is missing or malformed, and shows neither a
    password nor a URL.
    """
    notes: list[Note] = []
    texts = {name: value for name, value in given.items() if isinstance(value, str) and value.strip()}
    iam_token = bool(given.get("iam_token_db_auth"))
    replica, primary = _replica(texts), _parts(texts, "")
    if "url_read_replica" in texts or "host_read_replica" in texts:
        settings = _chosen(texts, "url_read_replica", replica, notes, iam_token=iam_token)
    elif "url" in texts or "host" in texts:
        settings = _chosen(texts, "url", primary, notes, iam_token=iam_token)
    elif "direct_url" in texts:
        settings = url_settings(texts["direct_url"], "DIRECT_URL")
    elif any(name in texts for name in ("name", "username", "user", "password", "port")):
        raise SettingError(
            "DATABASE_HOST is not set, though other parts of the connection are",
            "Set DATABASE_HOST to the host, or host:port, of LiteLLM's PostgreSQL",
        )
    else:
        raise SettingError("no database is set", f"Set {PARTS}, or DATABASE_URL, as for LiteLLM")
    if "direct_url" in texts and settings.origin != "DIRECT_URL":
        notes.append(_no_effect("DIRECT_URL", f"LiteLLM migrates through it, and {settings.origin} is read here"))
    if "user" in texts and texts.get("username", texts["user"]) != texts["user"]:
        notes.append(_no_effect("DATABASE_USERNAME", "it differs from DATABASE_USER, which LiteLLM looks at first"))
    notes += left_out(settings)
    if settings.iam_token:
        settings = replace(settings, region=texts.get("aws_region_name") or texts.get("aws_region"))
    return settings, tuple(notes)


def _chosen(
    texts: Mapping[str, str], url_name: str, parts: _Parts, notes: list[Note], *, iam_token: bool
) -> DatabaseSettings:
    """Return what the URL or the parts describe, and note what of the other differs."""
    variable = _variable(url_name)
    has_host = bool(parts.host[1].strip())
    if url_name not in texts or (iam_token and has_host):
        settings = parts.settings(iam_token=iam_token)
        if url_name in texts:
            notes.append(_no_effect(variable, f"IAM_TOKEN_DB_AUTH is on, and LiteLLM then goes by {parts.host[0]}"))
        return settings
    try:
        settings = url_settings(texts[url_name], variable)
    except SettingError as problem:
        if not has_host:
            raise
        try:
            settings = parts.settings(iam_token=False)
        except SettingError:
            raise problem from None
        notes.append((variable, f"{problem.what}; {parts.host[0]} and its companions are used instead"))
        return settings
    if settings.schema is None and parts.schema[1].strip():
        settings = replace(settings, schema=parts.schema[1].strip())
        text = f"{parts.schema[0]} is used here, though LiteLLM looks for a schema in {variable}, which names none"
        notes.append((parts.schema[0], text))
    if iam_token and settings.password is None:
        settings = replace(settings, iam_token=True)
    differing = _differing(settings, parts)
    if differing:
        notes.append(
            (
                differing[0].rpartition(" ")[2],
                f"{listed(differing)} {'differs' if len(differing) == 1 else 'differ'} from {variable}, "
                f"which LiteLLM goes by, and so does this job: leave out the one or the other",
            )
        )
    return settings


def _differing(settings: DatabaseSettings, parts: _Parts) -> list[str]:
    """Return the variables of the parts that say something else than the URL; none where they say nothing."""
    found = dict(settings.parameters)
    said = [
        (parts.name, settings.name),
        (parts.username, settings.username),
        (parts.password, settings.password or ""),
        (parts.schema, settings.schema or ""),
        (parts.sslmode, found.get("sslmode", "")),
        (parts.sslrootcert, found.get("sslrootcert", "")),
    ]
    variables = [variable for (variable, text), url in said if text.strip() and text.strip() != url.strip()]
    if parts.host[1].strip():
        try:
            hosts = parts._hosts()
        except SettingError:
            hosts = ()
        if [host for host, _ in hosts] != [host for host, _ in settings.hosts]:
            variables.insert(0, parts.host[0])
        elif hosts != settings.hosts:
            variables.insert(0, parts.port[0] if parts.port[1] else f"the port of {parts.host[0]}")
    elif parts.port[1].strip() and parts.port[1].strip() != str(settings.port):
        variables.insert(0, parts.port[0])
    return variables


def _parts(texts: Mapping[str, str], suffix: str) -> _Parts:
    def part(name: str) -> Note:
        return _variable(name + suffix), texts.get(name + suffix, "")

    return _Parts(
        host=part("host"),
        port=part("port"),
        name=part("name"),
        username=part("user") if f"user{suffix}" in texts else part("username"),
        password=part("password"),
        schema=part("schema"),
        sslmode=("DATABASE_SSLMODE", texts.get("sslmode", "")),
        sslrootcert=("DATABASE_SSLROOTCERT", texts.get("sslrootcert", "")),
    )


def _replica(texts: Mapping[str, str]) -> _Parts:
    """Return the replica's parts, with the primary's where it has none of its own."""
    own, primary = _parts(texts, "_read_replica"), _parts(texts, "")
    # What a URL says for itself is not compared with the primary's parts, which it need not resemble.
    names = ("schema",) if "url_read_replica" in texts else ("port", "name", "username", "password", "schema")
    filled = {name: getattr(own, name) if getattr(own, name)[1] else getattr(primary, name) for name in names}
    return replace(own, **filled)


def _no_effect(variable: str, why: str) -> Note:
    return variable, f"{variable} has no effect here: {why}"


def left_out(settings: DatabaseSettings) -> tuple[Note, ...]:
    """Return what is left out of a URL, if anything."""
    if not settings.dropped:
        return ()
    names = listed(list(settings.dropped))
    return ((settings.origin, f"{settings.origin} has {names}, which is no parameter of PostgreSQL and is left out"),)


def without_effect(environment: Mapping[str, str]) -> tuple[Note, ...]:
    """Return LiteLLM's variables that are set and mean nothing to this job."""
    return tuple(_no_effect(name, why) for name, why in WITHOUT_EFFECT.items() if environment.get(name))


def _variable(name: str) -> str:
    return "DIRECT_URL" if name == "direct_url" else f"DATABASE_{name.upper()}"


def _names_port(host: str) -> bool:
    return re.search(r"^(/.*|\[.*\]|[^:/]*):[0-9]+$", host) is not None
