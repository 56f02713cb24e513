"""The job as a pod runs it: uid 10001, a read-only root, two writable folders, process 1, no home and no terminal.

Where Docker is what the tests use, that is the image in a container (`test_image.py`). Elsewhere it is the same command
from an installed wheel in a mount and process namespace of its own, which needs root and Linux.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = 10001

_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc")

# The two folders become mounts of their own first, so they stay writable when the root below them is not.
_PREPARE = """
set -eu
mount --bind "$1" "$1"
mount --bind "$2" "$2"
mount -o remount,ro,bind /
shift 2
cd /
exec "$@"
"""


def refusal() -> str:
    """Return why this machine cannot run a command like a pod, or nothing where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it takes root on Linux to become another user in a namespace"
    for program in ("unshare", "setpriv", "mount"):
        if shutil.which(program) is None:
            return f"there is no {program} here"
    probe = subprocess.run([*_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return "" if probe.returncode == 0 else f"no namespace may be made here: {probe.stderr.strip()}"


@dataclass(frozen=True, slots=True)
class Pod:
    """Where one command runs, and its two writable folders."""

    program: Path
    """The console script."""
    packages: Path
    """The folder that the wheel was installed into."""
    output: Path
    """What the volume is in a cluster."""
    scratch: Path
    """What the emptyDir at /tmp is."""

    def start(self, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
        """Start the command with this environment and no other."""
        return self.start_program(environment, sys.executable, str(self.program), *arguments)

    def start_program(self, environment: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
        """Start any program so, with the command on its path."""
        capabilities = "-all"
        if not _readable_by_others(Path(sys.executable)):
            # Reading beyond its rights: the test's own interpreter may lie in root's home. It cannot write there.
            capabilities += ",+dac_read_search"
        return subprocess.Popen(
            [
                *(*_NAMESPACES, "sh", "-c", _PREPARE, "sh"),
                *(str(self.output), str(self.scratch)),
                *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"),
                *(f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}", f"--bounding-set={capabilities}"),
                *words,
            ],
            cwd="/",
            env={
                "PATH": f"{self.program.parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(self.packages),
                "PYTHONDONTWRITEBYTECODE": "1",
                "TMPDIR": str(self.scratch),
                "RECONCILE_OUTPUT": str(self.output),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextmanager
def pod(packages: Path) -> Iterator[Pod]:
    """Make the two folders, owned by the job's user, and remove them afterwards."""
    # Not pytest's own folder: only the user who runs the tests may enter that one.
    with tempfile.TemporaryDirectory(prefix="litellm-lago-pod-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = Pod(packages / "bin" / "litellm-lago", packages, folder / "runs", folder / "tmp")
        for writable in (made.output, made.scratch):
            writable.mkdir()
            os.chown(writable, USER, USER)
        yield made


def process_one(started: subprocess.Popen[str]) -> int:
    """Return the id, outside of its namespace, of the command that is process 1 inside."""
    (child,) = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text(encoding="ascii").split()
    return int(child)


def _readable_by_others(path: Path) -> bool:
    resolved = path.resolve()
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (resolved, *resolved.parents))
