"""Execute one notebook of a study: `cyborg run 02_finetune_teacher demo --fraction 0.1 --seed 1`.

What papermill alone lets pass is refused or repaired here: an unknown or missing parameter, a killed kernel whose
cells all read "completed", a half-written copy, absolute paths of this machine, and a lost race for the kernel's ports.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets import Int
from traitlets.config import Config

from cyborg_utils.core import atomic, config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run import freshness, tidy
from cyborg_utils.run.lock import locked
from cyborg_utils.study import artefacts

TRIES = 3  # of a kernel that dies before its first cell
PATIENCE = 15.0  # seconds to wait for a step's lock: a kernel needs a second or two to notice that its runner was killed
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


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

    `values` are the notebook's parameters where no study gives them; by default `config.compose` takes them from the study.
    An execution succeeds if no cell failed, the kernel lived, the record and every artefact that the registry expects were
    written anew, and the `promised` data are there. `done` (a JSON file) then lists the fingerprints of all of them, and of the
    `watched` files that exist.
    Raises CyborgError otherwise: the earlier copy stays, and the failed one lies in `build/<profile>/failed`.
    """
    path = paths.notebook(notebook)
    run_name = run.name if run else ""
    stem = f"{path.stem}_{run_name}" if run else path.stem
    values = config.compose(notebook, profile, run) if values is None else values
    record = artefacts.record_file(profile, path.stem, run_name)
    written = [record, *(file for name in artefacts.expected(path.stem, run_name) for file in artefacts.files(profile, name))]
    lock = paths.build(profile, "running", f"{stem}.lock")
    with locked(lock, f"{stem} of the study {profile!r}", patience=PATIENCE) as handle:
        before = [freshness.state(file) for file in written]
        working = paths.build(profile, "running", f"{stem}.ipynb")
        try:
            executed = _execute(path, working, values, profile, handle)
            now = [freshness.state(file) for file in written]
            pairs = zip(written, before, now, strict=True)
            if missing := [paths.shown(file) for file, old, new in pairs if new in (None, old)]:
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
            freshness.stamp(done, values, [*promised, *(file for file in watched if Path(file).exists()), copy, *written])
    return copy


def _set_aside(working: Path, failed: Path) -> str:
    """Move a failed copy to its place. Returns a line that names it; "" where there is no copy, or no room for it."""
    try:
        failed.parent.mkdir(parents=True, exist_ok=True)
        os.replace(working, failed)
    except OSError:
        return ""
    return f"\nThe copy with the failure: {paths.shown(failed)}"


class LockedKernels(AsyncKernelManager):
    """Kernels that also hold the step's lock: a kernel that outlives its runner for a moment keeps the step closed."""

    lock = Int().tag(config=True)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        await super()._async_launch_kernel(kernel_cmd, pass_fds=[self.lock], **options)


def _execute(path: Path, working: Path, values: dict[str, Any], profile: str, lock: int) -> nbformat.NotebookNode:
    """Run papermill, and again if the kernel never began. Every other failure is a CyborgError that names its cause."""
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
                    _literal(path),
                    _literal(working),
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
        except Exception as error:  # kernel died, failed to start, or lost its port
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


def _literal(path: Path) -> Path:
    """A path for papermill, which fills in parameters between braces."""
    return Path(str(path).replace("{", "{{").replace("}", "}}"))


def _cells_begun(working: Path) -> int:
    """Number of code cells that were begun. The cell that killed the kernel counts: papermill marks it as completed, too."""
    try:
        cells = nbformat.read(working, as_version=4).cells
    except (OSError, nbformat.reader.NotJSONError):  # no copy, or a truncated one
        return 0
    return sum(c.cell_type == "code" and c.metadata.get("papermill", {}).get("status", "pending") != "pending" for c in cells)


def _cause(error: PapermillExecutionError) -> str:
    """What went wrong in a cell: the message of a CyborgError, else the error with the end of its traceback."""
    if error.ename == "CyborgError":
        return str(error.evalue)
    if advice := atomic.remedy(str(error.evalue)):
        return f"{error.ename} in code cell {error.exec_count}: {tidy.without_machine(str(error.evalue))}: {advice}"
    lines = [line for line in ANSI.sub("", "\n".join(error.traceback)).splitlines() if line.strip()]
    return f"{error.ename} in code cell {error.exec_count}: {error.evalue}\n" + "\n".join(f"  | {line}" for line in lines[-12:])
