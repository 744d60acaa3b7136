"""One process at a time for a step or a study. A killed process leaves no lock behind."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cyborg_utils.core import atomic, paths
from cyborg_utils.core.errors import CyborgError


@contextmanager
def locked(path: Path, what: str, *, patience: float = 0) -> Iterator[int]:
    """Hold the lock of `what`; yields its file handle.

    The lock ends with this process, however that ends, and with every process that inherits the handle.
    Raises CyborgError where another process holds it for longer than `patience` seconds.
    """
    with atomic.told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    with handle:
        until = time.monotonic() + patience
        while not _has(handle):
            if time.monotonic() > until:
                handle.seek(0)
                process, _, host = handle.read().strip().partition(" ")
                where = f" of {host}" if host not in ("", socket.gethostname()) else ""
                raise CyborgError(f"{what} is being executed already (process {process}{where} or one it started).")
            time.sleep(0.1)
        with suppress(OSError):  # only a reader needs the number; the disk may be full
            handle.truncate(0)
            handle.write(f"{os.getpid()} {socket.gethostname()}")
            handle.flush()
        yield handle.fileno()


def _has(handle: IO[str]) -> bool:
    """Whether the lock could be taken."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on some network file systems
        return False
    except OSError as error:
        raise CyborgError(f"{paths.shown(handle.name)}: this file system has no locks ({error}); mount it with them.") from error
    return True
