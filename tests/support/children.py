"""Where tests start processes of their own: each is forked from a server that has imported everything already."""

from __future__ import annotations

from multiprocessing import get_context

CHILDREN = get_context("forkserver")
CHILDREN.set_forkserver_preload(["tests.support.command_runner", "tests.support.crash_runner"])
