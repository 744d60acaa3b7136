"""Atomic writes of files and folders: each is complete or absent, even if the process is killed or the machine stops.

Everything is written under a temporary name in the same folder (`.making@<host>@<pid>@<name>`), flushed to disk, and renamed. The
next process that writes into the folder removes what a killed process left under such a name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError

HOST = re.sub(r"[^\w.-]", "_", platform.node()) or "here"
TEMPORARY = re.compile(r"\.making@([^@]*)@(\d+)@.+", flags=re.DOTALL)
FORGOTTEN = 86_400  # seconds without a change after which another machine's temporary file counts as a leftover
GOES_ON = "run the same command again: it goes on from here"
REMEDIES = {
    errno.ENOSPC: f"no space is left on this disk. Free some, then {GOES_ON}.",
    errno.EDQUOT: f"your quota on this disk is used up. Free some of it, then {GOES_ON}.",
    errno.EROFS: f"this file system is read-only. Make it writable (or move the project to one that is), then {GOES_ON}.",
    errno.EACCES: f"this user has no permission for it. Grant it (chmod, chown), then {GOES_ON}.",
    errno.EIO: f"the disk reports an error of its own. Check the disk or its mount, then {GOES_ON}.",
}


def write(path: str | Path, content: str | bytes) -> Path:
    """Write a file atomically."""
    with file(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(path)


@contextmanager
def file(path: str | Path) -> Iterator[Path]:
    """A temporary name with the file's ending, to be written in the block; it becomes the file if the block succeeds."""
    path = Path(path)
    with told(path):
        temporary = _temporary(path)
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            _sync_one(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def folder(path: str | Path) -> Iterator[Path]:
    """An empty temporary folder, to be filled in the block; it replaces the folder `path` if the block succeeds."""
    path = Path(path)
    with told(path):
        temporary = _temporary(path)
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            sync(temporary)
            if path.exists() and not _exchange(temporary, path):
                shutil.rmtree(path)
            if not path.exists():
                os.replace(temporary, path)
            _sync_one(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # after an exchange this is the old folder


def sync(path: Path) -> None:
    """Flush a file, or a folder with all its contents, to disk."""
    for one in [*path.rglob("*"), path] if path.is_dir() else [path]:
        _sync_one(one)


def sweep(root: Path, *, deep: bool = True) -> list[Path]:
    """Remove what killed processes left half-written in a folder (`deep`: and in its subfolders); return the removed paths."""
    left = [path for path in (root.rglob if deep else root.glob)(".making@*") if _is_left(path)]
    for path in left:
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    return left


def remedy(error: BaseException | str) -> str:
    """The cause and the remedy for an error of a full, read-only, inaccessible or broken disk; "" for other errors."""
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if "PytorchStreamWriter failed writing" in text:  # PyTorch does not say why
        number = errno.ENOSPC
    return next((words for code, words in REMEDIES.items() if number == code or os.strerror(code) in text), "")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Raises disk errors in the block as a CyborgError with the remedy; other errors pass unchanged."""
    try:
        yield
    except OSError as error:
        if not (words := remedy(error)):
            raise
        raise CyborgError(f"{paths.shown(path)}: {words}") from error


def lives(process: int) -> bool:
    """Whether a process with this id is running on this machine (`HOST`)."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        pass
    return True


# ---------------------------------------------------------------- helpers


def _temporary(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, deep=False)
    return path.with_name(f".making@{HOST}@{os.getpid()}@{path.name}")


def _is_left(path: Path) -> bool:
    match = TEMPORARY.fullmatch(path.name)
    if not match:
        return False
    if match[1] != HOST:
        with suppress(OSError):
            return time.time() - path.stat().st_mtime > FORGOTTEN
        return False
    return not lives(int(match[2]))


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(handle)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system cannot (a kill at the wrong moment can then lose both)."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(first.absolute()), here, os.fsencode(second.absolute()), swap) == 0
