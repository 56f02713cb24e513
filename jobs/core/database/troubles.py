"""Why a connection to PostgreSQL was not made: which of it passes by itself, and what to change about the rest.

What a server, a pooler or libpq says is told apart by its words: most of it reaches the driver without a code. Only
what is known to pass is worth another attempt, since the list of what cannot pass has no end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.core.database.settings import DatabaseSettings

_PASSES = re.compile(
    "|".join(
        (
            # The name is not there yet, or its server does not answer for the moment.
            r"failed to resolve host|could not translate host name|name resolution|name or service not known",
            # Nobody listens there yet, or the network is not up.
            r"connection refused|timeout expired|timed out|no route to host|(network|host) is (unreachable|down)",
            r"connection to server on socket .* failed: (no such file or directory|connection refused)",
            r"connection reset|broken pipe|connection aborted|software caused connection abort",
            r"server closed the connection|connection .*closed unexpectedly|could not (receive|send) (data|startup)",
            r"unexpected eof|eof detected|consuming input failed|the connection is lost|server conn crashed",
            # The server starts, stops, recovers or changes its part.
            r"the database system is (starting up|shutting down|in recovery mode|not (yet )?accepting connections)",
            r"terminating connection (due to administrator command|because of crash)|is (not )?in hot standby mode",
            r"session is (not )?read-only|cannot connect now|recovery is in progress|server is (not )?in recovery",
            # It is full for the moment.
            r"too many (clients|connections)|remaining connection slots|no more connections allowed",
            r"max(imum)? ?client ?connections|maxclientsinsessionmode|could not fork new process|out of memory",
            # A pooler cannot get through to the server for the moment.
            r"query_wait_timeout|server_login_retry|server login has been failing|client_login_timeout",
            r"(cannot|could not) connect to (the )?(primary|server|upstream)|pooler is shut ?down|pgbouncer .*shut",
            r"couldn.t connect to compute node|control plane request failed|compute is starting",
        )
    ),
    re.IGNORECASE,
)
# PgBouncer repeats why the server refuses it, behind words that pass: what the server said decides.
_REPEATED = re.compile(r"cached error: (.*?) \(server_login_retry\)", re.IGNORECASE)

# Words and what to change. The names in braces are those of `_filled`.
_REMEDIES = (
    (
        r"PAM authentication failed",
        "Check that the role has rds_iam, that the identity of this job may rds-db:connect as it, and the AWS region",
    ),
    (
        r"Tenant or user not found|tenant_not_found",
        "This pooler tells projects apart by the role: write {username} as ROLE.PROJECT, and check the host in {host}",
    ),
    (
        r"Endpoint ID is not specified|inconsistent project name",
        "Name the endpoint's own host in {host}, or add options=endpoint%3DENDPOINT to the parameters of {parameters}",
    ),
    (
        r"authentication failed|no password supplied|wrong password|password has expired",
        "Check {username} and {password}{password_hint}",
    ),
    (r'role ".*" does not exist|user .* does not exist|no such user', "Check {username}; the role needs LOGIN"),
    (r"not permitted to log in", "Check {username}; the role needs LOGIN"),
    (
        r'database ".*" does not exist|no such database|is not currently accepting connections|database .* is disabled',
        "Check {name}",
    ),
    (
        r"permission denied for database",
        "As its owner: GRANT CONNECT ON DATABASE {name_quoted} TO {username_quoted}",
    ),
    (
        r"invalid response to SSL negotiation|expected authentication request|unsupported frontend protocol",
        "What listens there is not PostgreSQL: check the host in {host} and the port in {port}",
    ),
    (
        r"does not support SSL|server does not support TLS",
        "Set sslmode=prefer in {parameters}, or let the server offer TLS",
    ),
    (
        r"no encryption|SSL[^ ]* (connection )?(is |was )?required|SSL off|requires? (SSL|TLS)|insecure connection",
        "The server admits only encrypted connections: set sslmode=require in {parameters}",
    ),
    (
        r"pg_hba\.conf",
        "The server's pg_hba.conf does not admit this role from here: ask its administrator",
    ),
    (
        r"does not match host name|could not get server's host name|hostname mismatch",
        "Name the server in {host} as its certificate does, or set sslmode=verify-ca in {parameters}, which trusts its "
        "authority for any name",
    ),
    (
        r"root certificate file .* does not exist|could not (read|load) root certificate|no system root",
        "Let sslrootcert in {parameters} name a file with the certificate of the server's authority",
    ),
    (
        r"requires a valid client certificate|certificate required|client certificate",
        "The server wants a certificate of the client: name it and its key as sslcert and sslkey in {parameters}",
    ),
    (
        r"private key file .* (has group or world access|must be owned)",
        "Let only its owner read the key: chmod 0600, on Kubernetes defaultMode: 0440 with fsGroup, or copy it",
    ),
    (
        r"certificate verify failed|certificate is not trusted|unknown ca|self.signed",
        "Let sslrootcert in {parameters} name a file with the certificate of the server's authority",
    ),
    (
        r"private key|certificate|sslkey|sslcert|tls|ssl",
        "Check the ssl parameters of {parameters} against what the server offers",
    ),
    (
        r"channel binding|authentication method requirement|requires .* authentication",
        "Check channel_binding and require_auth in {parameters} against what the server offers",
    ),
    (
        r"invalid .* value|bad value|invalid (integer|port|connection|URI)|unrecognized|could not match \d+",
        "Correct that parameter in {parameters}",
    ),
    (
        r"unsupported startup parameter",
        "A pooler is there, and it takes no such parameter: remove it from {parameters}",
    ),
    (r"cannot be a name on the network", "Check the host in {host}"),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a connection was not made."""

    reason: str
    """What was said, on one line, without preamble and hints."""
    passes: bool
    """Whether another attempt may succeed."""


def trouble(text: str) -> Trouble:
    """Return what a driver's text says; of several hosts or addresses, the first failure that cannot pass decides."""
    failures = [_Failure.of(line) for line in _failures(text)]
    lasting = next((failure for failure in failures if not failure.passes), None)
    decides = lasting or failures[-1]
    return Trouble(decides.reason, passes=lasting is None)


def remedy(reason: str, settings: DatabaseSettings) -> str:
    """Return what to change about trouble that cannot pass; it names the setting."""
    found = next((remedy for words, remedy in _REMEDIES if re.search(words, reason, re.IGNORECASE)), None)
    return _filled(found or "Check what {host} names; another attempt would end the same way", settings)


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    passes: bool

    @classmethod
    def of(cls, line: str) -> _Failure:
        repeated = _REPEATED.search(line)
        return cls(_without_preamble(line), _PASSES.search(repeated.group(1) if repeated else line) is not None)


def _failures(text: str) -> list[str]:
    """Return one line per attempt: a host may have several addresses, and an address be tried with and without TLS."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    attempts = [line for line in lines if line.startswith("- ")]
    if not attempts:
        hints = ("\t", "DETAIL:", "HINT:", "Is the server running", "Multiple connection attempts")
        attempts = [line for line in lines if not line.startswith(hints)]
    return attempts or [text.strip()]


def _without_preamble(line: str) -> str:
    line = re.sub(r"^.*?(connection failed|connection is bad): ", "", line)
    line = re.sub(r"^connection to server (at|on socket) .*? failed: ", "", line)
    return " ".join(line.split())


def _filled(text: str, settings: DatabaseSettings) -> str:
    ends_blank = settings.password is not None and settings.password != settings.password.strip()
    names = settings.names
    return text.format(
        host=names.host,
        port=names.port,
        name=names.name,
        username=names.username,
        password=names.password,
        parameters=names.parameters,
        password_hint=", which begins or ends with a blank or line break" if ends_blank else "",
        name_quoted=quoted(settings.name),
        username_quoted=quoted(settings.username),
    )


def quoted(identifier: str) -> str:
    """Return a name as SQL writes it, for the statements that remedies show."""
    return '"' + identifier.replace('"', '""') + '"'
