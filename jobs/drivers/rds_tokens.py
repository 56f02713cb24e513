"""Passwords of AWS RDS that are made for one connection and end after a quarter of an hour. Needs the extra `aws`."""

from __future__ import annotations

from typing import Any

from jobs.core.database.settings import DatabaseSettings
from jobs.errors import SettingError, SourceError

_SETTING = "IAM_TOKEN_DB_AUTH"


def rds_token(settings: DatabaseSettings) -> str:
    """Return a new token for this host and role, signed as AWS's own programs find an identity and a region.

    Raise `SettingError` without boto3 or a region, `SourceError` where no identity can be found.
    """
    try:
        import boto3  # noqa: PLC0415 - an extra that most installations do without
        from botocore.exceptions import BotoCoreError, ClientError, NoRegionError  # noqa: PLC0415
    except ImportError as error:
        raise SettingError(
            f"{_SETTING} is on, but boto3, which makes the tokens, is not installed",
            "Install litellm-lago-reconcile[aws]",
        ) from error
    identity = "Give the pod an AWS identity that may rds-db:connect as this role, or set DATABASE_PASSWORD without it"
    try:
        session: Any = boto3.Session(region_name=settings.region)
        if session.get_credentials() is None:
            # The token would be made without a signature, and the server would take it for a wrong password.
            raise SourceError(f"{_SETTING} is on, and there is no AWS identity here", identity)
        return str(
            session.client("rds").generate_db_auth_token(
                DBHostname=settings.host, Port=settings.port, DBUsername=settings.username
            )
        )
    except NoRegionError as error:
        raise SettingError(
            f"{_SETTING} is on, and no AWS region is known", "Set AWS_REGION_NAME or AWS_REGION"
        ) from error
    except (BotoCoreError, ClientError) as error:
        raise SourceError(
            f"{_SETTING} is on, and AWS gave no token for {settings.address}: {error}",
            identity,
        ) from error
