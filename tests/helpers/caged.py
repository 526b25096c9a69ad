"""`python caged.py LACKS`: attack this process from a real child, on a system that lacks something.

LACKS: `nothing`; `namespaces`, as in a container with the usual profile; `landlock`, as before Linux 5.13. Prints what
the child got, and what has changed that it must not change, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import sys
import tempfile
import threading
from errno import ENOSYS, EPERM
from pathlib import Path
from typing import Any, Final

import cage_attacks
from cage_attacks import COLUMN, KEY, Victims

from duikou.sandbox import restrictions
from duikou.sandbox.process import LimitError, SandboxProcess
from duikou.sandbox.restrictions import AllowedPaths, Limits

REFUSED: Final = {
    "nothing": (0, 0),
    "namespaces": ((272, 97)[COLUMN], EPERM),  # unshare
    "landlock": (444, ENOSYS),  # landlock_create_ruleset
}
THREADS: Final = 300


def refuse(number: int, error: int) -> None:
    """Refuse one system call, as a container's profile does."""
    program = b"".join(
        struct.pack("=HBBI", *step)
        for step in (
            (0x20, 0, 0, 0),
            (0x15, 0, 1, number),
            (0x06, 0, 0, 0x0005_0000 | error),
            (0x06, 0, 0, 0x7FFF_0000),
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)), 0, 0) == 0


def state(victims: Victims) -> dict[str, Any]:
    """What no child may change."""
    found = victims.database.stat()
    return {
        "limits": [resource.getrlimit(one) for one in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE)],
        "cores": sorted(os.sched_getaffinity(0)),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "database": [found.st_mode, found.st_mtime_ns, found.st_uid, found.st_nlink, found.st_size],
        "attributes": os.listxattr(victims.database),
        "segments": [str(KEY) in Path(f"/proc/sysvipc/{kind}").read_text() for kind in ("shm", "msg", "sem")],
        "beside": sorted(path.name for path in victims.database.parent.iterdir()),
    }


def main() -> None:
    """Attack, and tell what came of it."""
    if REFUSED[sys.argv[1]][1]:
        refuse(*REFUSED[sys.argv[1]])
    os.chdir("/")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        victims = Victims(os.getpid(), folder / "duikou.db", folder / "link", folder / "read", folder / "own")
        victims.database.write_bytes(b"rows")
        victims.database.chmod(0o600)
        victims.link.symlink_to("duikou.db")
        victims.read.write_bytes(b"read")
        victims.folder.mkdir()
        allowed = AllowedPaths((victims.read,), (victims.folder,))
        worker = SandboxProcess(Limits(120, 2048, cpu_s=60, file_mb=2, threads=THREADS), threading.Event())
        before = state(victims)
        got = worker.run(cage_attacks.attack, victims, allowed=allowed)
        limits = worker.run(cage_attacks.limits, allowed=allowed)
        try:
            crowd: object = worker.run(cage_attacks.crowd, allowed=allowed)
        except LimitError as error:
            crowd = str(error)
        after = state(victims)
        worker.stop()
        made = sorted(path.name for path in victims.folder.iterdir())
    changed = {name: [old, after[name]] for name, old in before.items() if old != after[name]}
    found = {"limits": limits, "crowd": crowd, "changed": changed, "made": made}
    json.dump({**got, **found, "own_root": restrictions.own_root_available()}, sys.stdout)


if __name__ == "__main__":
    main()
