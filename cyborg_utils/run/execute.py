"""Execute one notebook of a study: `cyborg run 02_finetune_teacher demo --fraction 0.1 --seed 1`.

What papermill alone lets pass is refused or repaired here: an unknown or missing parameter, a killed kernel whose
cells all read "completed", a half-written copy, absolute paths of this machine, and a lost race for the kernel's ports.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets import Int
from traitlets.config import Config

from cyborg_utils.core import atomic, config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run import tidy
from cyborg_utils.study import artefacts

TRIES = 3  # of a kernel that dies before its first cell
PATIENCE = 15.0  # seconds to wait for a step's lock: a kernel whose runner was killed notices that within a second or two
LARGE = 64_000_000  # bytes
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


# ---------------------------------------------------------------- parameters


def compose(notebook: str, profile: str, run: config.Run | None = None) -> dict[str, Any]:
    """The parameters of a notebook: the study's section, its profile, and fraction and seed for a notebook of one run.

    Raises CyborgError for a name that the notebook does not know and one that the study does not give; wrong
    types are refused by `config.load`.
    """
    path = paths.notebook(notebook)
    known = config.parameters(path)
    file = paths.shown(paths.params_file(profile))
    if ("fraction" in known) != (run is not None):
        advice = "needs --fraction and --seed" if run is None else "is executed once a study, without --fraction and --seed"
        raise CyborgError(f"{path.stem}: this notebook {advice}.")
    given = {"profile": profile, **({"fraction": run.fraction, "seed": run.seed} if run else {})}
    section = config.load(profile).section(path.stem, run)
    if clash := sorted(set(given) & set(section)):
        raise CyborgError(f"{file}: {', '.join(clash)}: these come from the profile and the list of runs, not from a section.")
    given |= section
    if unknown := sorted(set(given) - set(known)):
        raise CyborgError(f"{file}: {path.stem} has no parameter {', '.join(unknown)}; it has {', '.join(known)}.")
    if missing := [name for name in known if name not in given]:
        raise CyborgError(f"{file}: {path.stem} needs {', '.join(missing)}, which the study does not give.")
    return {name: given[name] for name in known}


# ---------------------------------------------------------------- execution


def execute(
    notebook: str,
    profile: str,
    run: config.Run | None = None,
    *,
    values: dict[str, Any] | None = None,
    promised: Iterable[str | Path] = (),
    watched: Iterable[str | Path] = (),
    done: Path | None = None,
) -> Path:
    """Execute a notebook in a fresh kernel of this Python and return its executed copy, which is replaced only by a whole one.

    A success is: no cell failed, the kernel lived, the record and every artefact that the registry expects were written by this
    execution, and the `promised` data are there. Then `done` (a JSON file) names them all with their fingerprints, and those of
    the `watched` that are there.
    `values` are the notebook's parameters where no study gives them (`compose` does otherwise).
    Otherwise raises CyborgError, keeps the earlier copy and leaves the failed one in `build/<profile>/failed`.
    """
    path = paths.notebook(notebook)
    run_name = run.name if run else ""
    stem = f"{path.stem}_{run_name}" if run else path.stem
    values = compose(notebook, profile, run) if values is None else values
    record = artefacts.record_file(profile, path.stem, run_name)
    written = [record, *(file for name in artefacts.expected(path.stem, run_name) for file in artefacts.files(profile, name))]
    lock = paths.build(profile, "running", f"{stem}.lock")
    with locked(lock, f"{stem} of the study {profile!r}", patience=PATIENCE) as handle:
        before = [_state(file) for file in written]
        working = paths.build(profile, "running", f"{stem}.ipynb")
        try:
            executed = _execute(path, working, values, profile, handle)
            if missing := [
                paths.shown(file) for file, state in zip(written, before, strict=True) if _state(file) in (None, state)
            ]:
                raise CyborgError(f"ended without error, but did not write {', '.join(missing)}.")
            if missing := [paths.shown(file) for file in promised if not Path(file).exists()]:
                raise CyborgError(f"ended without error, but there is no {', '.join(missing)}.")
        except CyborgError as error:
            raise CyborgError(f"{stem}: {error}{_set_aside(working, paths.build(profile, 'failed', f'{stem}.ipynb'))}") from error
        copy = paths.results(profile, "notebooks", f"{stem}.ipynb")
        artefacts.write(copy, nbformat.writes(tidy.clean(executed, path, copy)) + "\n")
        working.unlink(missing_ok=True)
        paths.build(profile, "failed", f"{stem}.ipynb").unlink(missing_ok=True)
        if done:
            _stamp(done, values, [*promised, *(file for file in watched if Path(file).exists()), copy, *written])
    return copy


def _set_aside(working: Path, failed: Path) -> str:
    """Move a failed copy where it stays; words that say where, none where there is no copy or no room for it."""
    try:
        failed.parent.mkdir(parents=True, exist_ok=True)
        os.replace(working, failed)
    except OSError:
        return ""
    return f"\nThe copy with the failure: {paths.shown(failed)}"


class LockedKernels(AsyncKernelManager):
    """Kernels that hold the step's lock too: one that outlives its runner for a moment keeps the step closed that long."""

    lock = Int().tag(config=True)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        await super()._async_launch_kernel(kernel_cmd, pass_fds=[self.lock], **options)


def _execute(path: Path, working: Path, values: dict[str, Any], profile: str, lock: int) -> nbformat.NotebookNode:
    """Run papermill, again where the kernel never began; every other end is a CyborgError with its cause in plain words."""
    os.environ.update(
        JUPYTER_PREFER_ENV_PATH="1",  # the kernel `python3` of this environment, before one that a user installed elsewhere
        IPYTHONDIR=str(paths.build(profile, "running", "ipython")),  # no start-up files of the user
        PYTHONPATH=os.pathsep.join(filter(None, [str(paths.CHECKOUT), os.environ.get("PYTHONPATH")])),
        TOKENIZERS_PARALLELISM="false",
        PYDEVD_DISABLE_FILE_VALIDATION="1",
    )
    os.environ.setdefault("PYTHONHASHSEED", "0")
    for attempt in range(1, TRIES + 1):
        working.unlink(missing_ok=True)
        try:
            # Sockets in a folder of their own (their paths must be short), not ports, which parallel kernels race for.
            with tempfile.TemporaryDirectory(prefix="cyborg-", dir="/tmp") as folder:
                kernels = {"transport": "ipc", "connection_file": f"{folder}/kernel.json", "lock": lock}
                return papermill.execute_notebook(
                    path,
                    working,
                    values,
                    kernel_name="python3",
                    cwd=paths.home(),
                    start_timeout=180,
                    progress_bar=False,
                    kernel_manager_class=LockedKernels,
                    config=Config({"LockedKernels": kernels}),
                    extra_arguments=["--log-level=CRITICAL"],
                )
        except PapermillExecutionError as error:
            raise CyborgError(_cause(error)) from error
        except Exception as error:  # a kernel that died, did not start or lost its port: all sorts
            if advice := atomic.remedy(error):
                raise CyborgError(f"{paths.shown(working)}: {advice}") from error
            begun = _cells_begun(working)
            if begun:
                raise CyborgError(
                    f"the kernel was killed in its code cell {begun}; most often this means that memory ran out ({error}). "
                    f"Close other programs or take a machine with more of it, then {atomic.GOES_ON}."
                ) from error
            if attempt == TRIES:
                raise CyborgError(f"no kernel could be started in {TRIES} tries: {error}") from error
            print(f"{working.stem}: the kernel did not start ({error}); once more.", file=sys.stderr, flush=True)
            time.sleep(attempt)
    raise AssertionError("not reached")


def _cells_begun(working: Path) -> int:
    """How many code cells were begun. The cell that killed the kernel counts: papermill marks it as completed all the same."""
    try:
        cells = nbformat.read(working, as_version=4).cells
    except (OSError, nbformat.reader.NotJSONError):  # none, or cut short
        return 0
    return sum(c.cell_type == "code" and c.metadata.get("papermill", {}).get("status", "pending") != "pending" for c in cells)


def _cause(error: PapermillExecutionError) -> str:
    if error.ename == "CyborgError":
        return str(error.evalue)
    if advice := atomic.remedy(str(error.evalue)):
        return f"{error.ename} in code cell {error.exec_count}: {tidy.without_machine(str(error.evalue))}: {advice}"
    lines = [line for line in ANSI.sub("", "\n".join(error.traceback)).splitlines() if line.strip()]
    return f"{error.ename} in code cell {error.exec_count}: {error.evalue}\n" + "\n".join(f"  | {line}" for line in lines[-12:])


def _state(file: Path) -> tuple[int, int] | None:
    """What changes when a file is written anew; None where there is none."""
    return (file.stat().st_ino, file.stat().st_mtime_ns) if file.is_file() else None


@contextmanager
def locked(path: Path, what: str, *, patience: float = 0) -> Iterator[int]:
    """Hold a lock that ends with this process, however it ends, and with those that inherit its handle, which it yields.

    CyborgError where another process holds it for longer than `patience` seconds.
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
        with suppress(OSError):  # the number is only for a reader; the disk may be full
            handle.truncate(0)
            handle.write(f"{os.getpid()} {socket.gethostname()}")
            handle.flush()
        yield handle.fileno()


def _has(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on some network file systems
        return False
    except OSError as error:
        raise CyborgError(f"{paths.shown(handle.name)}: this file system has no locks ({error}); mount it with them.") from error
    return True


# ---------------------------------------------------------------- what is left behind


def _stamp(done: Path, values: dict[str, Any], files: Iterable[str | Path]) -> None:
    """The finished step as Snakemake sees it: its parameters, and what it made with fingerprints."""
    content = {"parameters": values, "made": {paths.shown(file): _digest(Path(file)) for file in files}}
    artefacts.write(done, json.dumps(content, indent=1) + "\n")


def _digest(path: Path) -> str:
    """Fingerprint of a file; of a folder that of its essays and weights, large ones (they would take seconds) by their size."""
    if path.is_file():
        return provenance.sha256(path)[:16]
    files = [file for file in path.rglob("*") if file.suffix in (".arrow", ".safetensors") and not file.name.startswith("cache-")]
    sizes = {str(file.relative_to(path)): file.stat().st_size for file in files if "checkpoints" not in file.parts}
    return provenance.fingerprint(
        {name: size if size > LARGE else provenance.sha256(path / name) for name, size in sizes.items()}
    )


def forget_changed(profile: str) -> list[str]:
    """Drop the stamp of every step whose files are gone or were changed since (by hand, by git); one line of words for each."""
    told = []
    for stamp in sorted(paths.build(profile, "done").glob("*.json")):
        made = json.loads(stamp.read_text(encoding="utf-8"))["made"]
        for name, digest in made.items():
            file = paths.home() / name
            if not file.exists() or (digest and _digest(file) != digest):
                told.append(f"{stamp.stem}: {name} {'was changed' if file.exists() else 'is gone'}; this step is done again.")
                stamp.unlink()
                break
    return told
