"""The image that a test builds: under a tag of its own, and nothing but that tag is removed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def built_image(client: Any, checkout: Path) -> Iterator[Any]:
    """Build the checkout's image with this Docker client and give it.

    A build from the same files has the id of an image that is there already under another tag: to remove it by its
    id, or by force, would take that tag too.
    """
    tag = f"litellm-lago-reconcile-tests:{secrets.token_hex(6)}"
    image, _ = client.images.build(path=str(checkout), tag=tag, rm=True)
    try:
        yield image
    finally:
        client.images.remove(tag)
