"""What servers, poolers and libpq say: what passes is tried again, and everything else ends with what to change."""

from __future__ import annotations

import pytest

from jobs.core.database.troubles import remedy, trouble
from jobs.core.litellm.variables import database_settings

TO = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '
PASSES = [
    f"{TO}Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
    f"{TO}FATAL:  the database system is starting up",
    f"{TO}FATAL:  the database system is not yet accepting connections\nDETAIL:  Consistent recovery state ...",
    f"{TO}FATAL:  the database system is shutting down",
    f"{TO}FATAL:  the database system is in recovery mode",
    f"{TO}FATAL:  sorry, too many clients already",
    f"{TO}FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    f'{TO}FATAL:  too many connections for role "reader"',
    f"{TO}FATAL:  no more connections allowed (max_client_conn)",
    f"{TO}FATAL:  Max client connections reached",
    f"{TO}FATAL:  MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited to pool_size",
    f"{TO}FATAL:  query_wait_timeout",
    f"{TO}FATAL:  server login has been failing, try again later (server_login_retry)",
    f"{TO}FATAL:  terminating connection due to administrator command",
    f"{TO}server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally",
    f"{TO}session is read-only",
    f"{TO}server is in hot standby mode",
    f"{TO}SSL SYSCALL error: EOF detected",
    f"{TO}No route to host",
    f"{TO}timeout expired",
    "connection timeout expired",
    "failed to resolve host 'db.svc': [Errno -3] Temporary failure in name resolution",
    'connection failed: connection to server on socket "/run/.s.PGSQL.5432" failed: No such file or directory',
    "[Errno 104] Connection reset by peer",
    "All failures were:\n- host: 'a', port: '1', hostaddr: '::1': connection failed: connection to server at "
    "\"::1\", port 1 failed: Connection refused\n- host: 'b', port: '2': connection timeout expired",
]
LASTING = [
    ('server certificate for "db.example" does not match host name "db"', "Name the server in DATABASE_HOST"),
    ("SSL error: certificate verify failed", "Let sslrootcert in"),
    ('root certificate file "/ca.pem" does not exist', "Let sslrootcert in"),
    ("FATAL:  connection requires a valid client certificate", "sslcert and sslkey in"),
    ("SSL error: tlsv13 alert certificate required", "sslcert and sslkey in"),
    ('private key file "/k" has group or world access; file must have permissions u=rw (0600)', "chmod 0600"),
    ('certificate present, but not private key file "/k"', "Check the ssl parameters of"),
    ("FATAL:  SSL required", "set sslmode=require in"),
    ("ERROR:  SSL connection is required. Please specify SSL options and retry.", "set sslmode=require in"),
    ('FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", no encryption', "set sslmode=require"),
    (
        'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", SSL encryption',
        "ask its administrator",
    ),
    ("server does not support SSL, but SSL was required", "Set sslmode=prefer in"),
    ("FATAL:  Tenant or user not found", "write DATABASE_USER as ROLE.PROJECT"),
    ("ERROR:  Endpoint ID is not specified. Either please upgrade the postgres client library", "options=endpoint%3D"),
    ('FATAL:  password authentication failed for user "u"', "Check DATABASE_USER and DATABASE_PASSWORD"),
    ('FATAL:  PAM authentication failed for user "u"', "rds_iam"),
    ('FATAL:  role "u" is not permitted to log in', "needs LOGIN"),
    ('FATAL:  database "d" does not exist', "Check DATABASE_NAME"),
    ("FATAL:  no such database: d", "Check DATABASE_NAME"),
    ('FATAL:  permission denied for database "d"', 'GRANT CONNECT ON DATABASE "d" TO "u"'),
    ('invalid target_session_attrs value: "some"', "Correct that parameter in"),
    ('invalid port number: "abc"', "Correct that parameter in"),
    ('invalid integer value "abc" for connection option "port"', "Correct that parameter in"),
    ('FATAL:  unrecognized configuration parameter "x"', "Correct that parameter in"),
    ("FATAL:  unsupported startup parameter: options", "remove it from"),
    (
        "received invalid response to SSL negotiation: H",
        "host in DATABASE_HOST and the port in DATABASE_PORT",
    ),
    ("channel binding required, but server authenticated client without channel binding", "channel_binding"),
    ("FATAL:  something that nobody has seen yet", "Check what DATABASE_HOST names"),
]


@pytest.mark.parametrize("text", PASSES)
def test_what_passes(text: str) -> None:
    """It is known to pass."""
    found = trouble(text)
    assert found.passes
    assert "\n" not in found.reason
    assert not found.reason.startswith("connection to server")


@pytest.mark.parametrize(("text", "words"), LASTING)
def test_what_does_not_pass(text: str, words: str) -> None:
    """Each with the setting to change; the unknown too."""
    settings = database_settings("h", "d", "", "p", user="u", port="1")
    for said in (f"{TO}{text}", f"{TO}{text}\n{TO}{text}", text):
        found = trouble(said)
        assert not found.passes
        assert found.reason == " ".join(text.split())
        assert words in remedy(found.reason, settings)


def test_the_failure_that_decides() -> None:
    """Of several, the one that cannot pass: waiting for the others would change nothing about it."""
    both = (
        f"Multiple connection attempts failed. All failures were:\n- host: 'a': {PASSES[0]}\n- host: 'b': {TO}FATAL:  x"
    )
    assert trouble(both).reason == "FATAL: x"
    assert not trouble(both).passes
    first = f"All failures were:\n- host: 'b': {TO}FATAL:  x\n- host: 'a': {TO}Connection refused"
    assert trouble(first).reason == "FATAL: x"


def test_a_pooler_that_repeats_the_server() -> None:
    """What the server said decides."""
    failing = f"{TO}FATAL:  server login has been failing, cached error: {{}} (server_login_retry)"
    assert not trouble(failing.format("FATAL: password authentication failed")).passes
    assert trouble(failing.format("connect failed: Connection refused")).passes
