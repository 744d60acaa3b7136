"""Rebuilds a study's tables and figures from its committed scores in a temporary folder, without a model or a network.

`make verify` compares the result with the commit; `make exports` takes LaTeX, Markdown and SVG from it.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora
from cyborg_utils.run import execute
from cyborg_utils.study import artefacts

AT_ONCE = 2  # notebooks in parallel; each needs less than 1 GiB of memory
FIRST = ["06_analyze_bias", "05_test_significance", "07_calibrate_student"]  # the longest first; 00 reads all others and is last


def notebooks(profile: str) -> list[str]:
    """The notebooks whose artefacts can be computed from the study's scores, in the order in which they are started.

    01 is included where the corpus's own files are available.
    """
    study = config.load(profile)
    there = ["01_prepare_data", "05_test_significance", "06_analyze_bias", "14_audit_scores", *study.beyond]
    told = {name: artefacts.needs(name, study) for name in dict.fromkeys(there)}
    wanted = [name for name, need in told.items() if need == "scores" or (need == "essays" and _at_hand(study))]
    return [*sorted(wanted, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)), "00_overview"]


@contextmanager
def rebuilt(profile: str, *, commit: str = "HEAD") -> Iterator[tuple[Path, list[str]]]:
    """A temporary project folder with the rebuilt study, and the notebooks that were executed; removed afterwards.

    Its folder `committed/` contains the committed results unchanged. `params` and `notebooks` are this project's; scores, records
    and everything that is not rebuilt are the commit's. Raises CyborgError where the commit has no scores or a notebook fails.
    """
    with tempfile.TemporaryDirectory(prefix="cyborg-rebuild-") as name:
        folder = Path(name).resolve()
        kept = folder / "committed"
        extract(profile, commit, kept)
        results = folder / "results" / profile
        shutil.copytree(kept / "results" / profile, results)
        for link in ("params", "notebooks", "data"):
            if (paths.home() / link).exists():
                (folder / link).symlink_to(paths.home() / link)
        if shared := next((found for at in (paths.home(), paths.home().parent) if (found := at / "shared").is_dir()), None):
            (folder / "shared").symlink_to(shared)
        chosen = [name for name in notebooks(profile) if (results / "records" / f"{name}.json").is_file()]
        _remove(results, chosen)
        with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as pool:
            for stage in ([name for name in chosen if name != "00_overview"], [name for name in chosen if name == "00_overview"]):
                for job in [pool.submit(_execute, str(folder), name, profile) for name in stage]:
                    if failure := job.result():
                        raise CyborgError(failure)
        yield folder, chosen


def extract(profile: str, commit: str, to: Path) -> None:
    """Extract a study's committed results into the folder `to`. Raises CyborgError where the commit has none of its scores."""
    shown = paths.shown(paths.results(profile))
    if not git("ls-tree", "-r", "--name-only", commit, "--", f"{shown}/scores").strip():
        raise CyborgError(f"{shown}/scores: the commit {commit} holds no scores to rebuild from.")
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit, "--", shown, binary=True))) as archive:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and newer
        archive.extractall(to, **safe)


def git(*arguments: str, binary: bool = False) -> str | bytes:
    """The output of a git command in the project folder. Raises CyborgError with git's own message where it fails."""
    done = subprocess.run(["git", "-C", str(paths.home()), *arguments], capture_output=True, check=False)
    if done.returncode:
        raise CyborgError(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout if binary else done.stdout.decode()


def _at_hand(study: config.Study) -> bool:
    """Whether the corpus's files are available."""
    try:
        return all(file.exists() for file in corpora.sources(study.section("prepare_data")))
    except CyborgError:
        return False


def _remove(results: Path, chosen: list[str]) -> None:
    """Remove what the notebooks will write, so that a file they no longer write is noticed."""
    for kind in ("tables", "figures"):
        for file in (results / kind).glob("*"):
            if artefacts.artefact(file.name.removesuffix(".alt.txt").removesuffix(file.suffix))["notebook"] in chosen:
                file.unlink()


def _execute(home: str, notebook: str, profile: str) -> str:
    """Execute a notebook in the project folder `home`; return the error message, or "" on success."""
    os.environ.update(CYBORG_HOME=home, OMP_NUM_THREADS="1")
    try:
        execute.execute(notebook, profile)
    except CyborgError as error:
        return str(error)
    return ""
