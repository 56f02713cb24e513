"""Passwords that AWS makes for one connection: by boto3, without a network, since it signs them itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from psycopg import sql

from jobs.core.litellm.variables import chosen_database, database_settings
from jobs.drivers.postgres import Patience, connect
from jobs.drivers.rds_tokens import rds_token
from jobs.errors import SettingError, SourceError

PARTS = {"host": "db.rds.example", "port": "6543", "user": "reader", "name": "litellm", "iam_token_db_auth": True}


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without an identity, and ask no machine of AWS for one."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")


def test_the_token_is_for_this_host_and_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the region that LiteLLM's own variable names."""
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "quiet")
    settings, _ = chosen_database({**PARTS, "aws_region_name": "eu-north-1", "aws_region": "us-east-1"})
    token = urlsplit(f"https://{rds_token(settings)}")
    asked = parse_qs(token.query)
    assert token.netloc == "db.rds.example:6543"
    assert (asked["Action"], asked["DBUser"]) == (["connect"], ["reader"])
    assert "/eu-north-1/rds-db/" in asked["X-Amz-Credential"][0]


def test_each_connection_has_its_own(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is the password: a real server takes it, once it is that."""
    tokens = iter(("first token", "second token"))
    monkeypatch.setattr("jobs.drivers.postgres.rds_token", lambda _: next(tokens))
    settings = database_settings(url=database)
    role = f"iam_{settings.name}"
    with psycopg.connect(database, autocommit=True) as owner:
        try:
            for token in ("first token", "second token"):
                create = "CREATE ROLE {} LOGIN PASSWORD {}" if token[0] == "f" else "ALTER ROLE {} PASSWORD {}"
                owner.execute(sql.SQL(create).format(sql.Identifier(role), sql.Literal(token)))
                iam = replace(settings, username=role, password=None, iam_token=True)
                connect(iam, patience=Patience(attempts=1)).close()
        finally:
            owner.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library, the region, the identity: each in one line, at once."""
    pytest.importorskip("boto3")
    waits: list[float] = []
    settings, _ = chosen_database(PARTS)
    with pytest.raises(SourceError, match=r"there is no AWS identity here\. Give the pod an AWS identity"):
        connect(replace(settings, region="eu-north-1"), patience=Patience(attempts=12), sleep=waits.append)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "quiet")
    with pytest.raises(SettingError, match=r"no AWS region is known\. Set AWS_REGION_NAME or AWS_REGION"):
        connect(settings, patience=Patience(attempts=12), sleep=waits.append)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingError, match=r"boto3, which makes the tokens, is not installed.*\[aws\]"):
        connect(settings, patience=Patience(attempts=12), sleep=waits.append)
    assert not waits
