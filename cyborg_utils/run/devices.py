"""The GPUs of this machine: a step that runs a model gets one of its own, so that several steps run on several GPUs.

Snakemake counts them (`--resources gpu=N`), and never starts more steps with a model than there are. Which of them a step gets is
decided here, by locks, since a number has no name: the kernel sees the others no more (`CUDA_VISIBLE_DEVICES`).
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run.lock import locked

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARED_OUT = "CYBORG_GPUS"  # the names from which a step takes one; set for the steps of a study where there are several


def visible() -> list[str]:
    """Names of the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` has them; [] where there are none."""
    if (named := os.environ.get(VISIBLE)) is not None:
        return [name for name in map(str.strip, named.split(",")) if name not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def shared_out() -> dict[str, str]:
    """What the steps of a study on this machine find in their environment: the names of its GPUs, where there are several."""
    names = visible()
    return {SHARED_OUT: ",".join(names)} if len(names) > 1 else {}


@contextmanager
def own() -> Iterator[str]:
    """Hold one GPU of `CYBORG_GPUS`, and let this process and its children see only that one; waits until one is free.

    Yields its name; "" where there are not several to choose from (on a cluster the scheduler has chosen), and nothing changes.
    """
    names = [name for name in os.environ.get(SHARED_OUT, "").split(",") if name]
    if not names:
        yield ""
        return
    folder, earlier = Path(tempfile.gettempdir()) / f"cyborg-gpus-{os.getuid()}", os.environ.get(VISIBLE)
    with ExitStack() as stack:
        while not (name := next((one for one in names if _taken(stack, folder / f"{one}.lock")), "")):
            time.sleep(1)
        os.environ[VISIBLE] = name
        try:
            yield name
        finally:
            os.environ.pop(VISIBLE) if earlier is None else os.environ.update({VISIBLE: earlier})


def _taken(stack: ExitStack, lock: Path) -> bool:
    try:
        stack.enter_context(locked(lock, f"GPU {lock.stem}"))
    except CyborgError:  # another step has it
        return False
    return True
