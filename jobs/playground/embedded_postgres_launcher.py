"""Becomes a PostgreSQL program: sheds root, asks to die with its parent, then executes what it was given.

Run as a script and never imported, so that all of this happens in a process of its own with a single thread:
a user namespace can only be entered by one. Needs nothing but the standard library.

Arguments: mode, user id, group id, parent process id, program, its arguments ... where the mode is `as-is`
(the caller is not root), `namespace` (root appears as the given ids in a user namespace) or `switch` (become
the given ids).
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def _enter_namespace(user_id: int, group_id: int) -> None:
    """Enter a user namespace in which our ids appear as the given ones; raise `OSError` if refused."""
    outside_user, outside_group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    # The kernel accepts a group map from a process without CAP_SETGID only once setgroups is off.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user_id} {outside_user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group_id} {outside_group} 1", encoding="ascii")


def _switch(user_id: int, group_id: int) -> None:
    os.setgroups([])
    os.setgid(group_id)
    os.setuid(user_id)


def _die_with(parent: int) -> None:
    """Have the kernel send SIGINT, PostgreSQL's fast shutdown, when the parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT))
    if os.getppid() != parent:  # it died before the line above took effect
        sys.exit(1)


def main(arguments: list[str]) -> None:
    """Do what the module says; return never."""
    mode, user_id, group_id, parent, program = arguments[0], *map(int, arguments[1:4]), arguments[4]
    if mode == "namespace":
        _enter_namespace(user_id, group_id)
    elif mode == "switch":
        _switch(user_id, group_id)
    # After the ids have changed, because a change of ids clears the request.
    if sys.platform == "linux":
        _die_with(parent)
    os.execv(program, arguments[4:])  # noqa: S606 - replacing this process is the purpose, and no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
