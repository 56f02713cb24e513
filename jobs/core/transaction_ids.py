"""The identity of a backfilled event.

The macro in `sql/workspace/workspace_schema.sql` computes the same id set by set; tests pair by it what was made here.
"""

from __future__ import annotations

import hashlib

PREFIX = "litellm-lago:1:"
"""Readable origin and version. A change of the derivation below is a new version and needs a migration."""


def transaction_id(subscription: str, code: str, part: str, request_id: str) -> str:
    """Return the id of the event that this part of the meter makes of one spend log.

    Each field is preceded by its length in bytes, so no two different sources spell the same text; the digest bounds
    the length, since request ids reach 400 characters of whatever a provider sends.
    """
    fields = (field.encode() for field in (subscription, code, part, request_id))
    spelled = b"".join(b"%d:%b" % (len(field), field) for field in fields)
    return PREFIX + hashlib.sha256(spelled).hexdigest()
