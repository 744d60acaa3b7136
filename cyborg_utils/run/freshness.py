"""Which steps of a study are still valid: the one place that decides it.

A step of this machine is valid while its stamp `build/<profile>/done/<step>.json` is there and every file that the stamp names is
unchanged. A step of another machine (`make reproduce KEEP=1` goes on from a clone, which holds scores, tables and records, but
neither essays nor models) is valid where its scores and its settings are those that its record names.

A notebook beyond the paper says in its metadata which models it needs, under `cyborg`:
`"trains_unless": {<setting>: <value>}` (it trains networks of its own, unless its section says this; `{}`: always) and
`"loads": ["teacher", "students"]` (the models of a run that it loads; its section then has `run` and `labels`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyborg_utils.core import atomic, config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora
from cyborg_utils.study import artefacts

MODELS = {"teacher": "02_finetune_teacher", "students": "04_train_student"}  # folders in build/<profile>, and who fills them
LARGE = 64_000_000  # bytes; a larger file in a folder is compared by its size, since its fingerprint would take seconds


# ---------------------------------------------------------------- stamps of finished steps


def stamp(done: Path, values: dict[str, Any], files: Iterable[str | Path]) -> None:
    """Write the stamp of a finished step, Snakemake's output: its parameters, and the fingerprint of every file that it made."""
    content = {"parameters": values, "made": {paths.shown(file): _digest(Path(file)) for file in files}}
    atomic.write(done, json.dumps(content, indent=1) + "\n")


def stamps(profile: str) -> list[Path]:
    """The stamps of all finished steps of a study."""
    return sorted(paths.build(profile, "done").glob("*.json"))


def state(file: Path) -> tuple[int, int] | None:
    """What changes when a file is written anew (inode, time of change); None where there is no file."""
    return (file.stat().st_ino, file.stat().st_mtime_ns) if file.is_file() else None


# ---------------------------------------------------------------- steps that are no longer valid


def forget_changed(profile: str) -> list[str]:
    """Drop the stamp of every step with a file that is gone or was changed since (by hand, by git); one message for each step."""
    messages = []
    for step in stamps(profile):
        made = json.loads(step.read_text(encoding="utf-8"))["made"]
        for name, digest in made.items():
            file = paths.home() / name
            if not file.exists() or (digest and _digest(file) != digest):
                messages.append(f"{step.stem}: {name} {'was changed' if file.exists() else 'is gone'}; this step is done again.")
                step.unlink()
                break
    return messages


def forget_changed_essays(profile: str) -> list[str]:
    """Drop every step of a study whose essays have changed since its record of 01; one message then, else none.

    Essays have changed where the study's files (essays, rubric) or the settings of its splits are not the recorded ones. All
    stamps go, and the records of its models, without which their scores are not `kept`. A file that is not here changes nothing:
    a prepared study does not need it any more.
    """
    record = artefacts.record_if_any(profile, "01_prepare_data")
    if not record:
        return []
    changed = _changed_settings(profile, record["parameters"]) or _changed_files(profile, [*record["inputs"].values()])
    stale = [*stamps(profile), *paths.results(profile, "records").glob("0[234]_*.json")]
    if not changed or not stale:
        return []
    for step in stale:
        step.unlink()
    file = paths.shown(artefacts.record_file(profile, "01_prepare_data"))
    return [f"{changed}: not what {file} was made from; every step is done again, and no earlier scores are kept."]


# ---------------------------------------------------------------- steps of another machine


def kept(profile: str) -> list[str]:
    """Steps of 02, 03 and 04 that have no stamp here, and need none: their scores are in `results`.

    The scores must be those that their record names by fingerprint, and the record must name the study's settings of today. (A
    record knows neither settings that are younger than itself, nor changes of code.)
    """
    study, steps = config.load(profile), []
    for run in [*study.runs, *study.full_runs]:
        kinds = {"02_finetune_teacher": "teacher", "03_label_essays": "teacher", "04_train_student": "students"}
        for notebook, kind in kinds.items():
            if run not in study.runs and kind == "teacher":
                continue
            scores = paths.results(profile, "scores", f"{kind}_{run.name}.csv")
            if not (scores.is_file() and _is_recorded(notebook, profile, run, scores)):
                break  # the steps after it depend on it
            steps.append(f"{notebook}_{run.name}")
    return [step for step in steps if not _is_done(profile, step)]


def left_out(profile: str, known: list[str]) -> dict[str, bool]:
    """Notebooks beyond the paper that are not executed where the steps `known` are kept, each with whether its results are here.

    These are the notebooks that would train networks of their own, and those that load models which are not on this machine.
    """
    study = config.load(profile)
    needs = {name: _needs(name) for name in study.beyond if known and not _is_done(profile, name)}
    return {
        name: _is_recorded(name, profile)
        and all(file.is_file() for each in artefacts.expected(name) for file in artefacts.files(profile, each))
        for name, need in needs.items()
        if _trains(study.section(name), need) or not _are_loadable(study, study.section(name), need.get("loads", []), known)
    }


# ---------------------------------------------------------------- helpers


def _is_done(profile: str, step: str) -> bool:
    return paths.build(profile, "done", f"{step}.json").is_file()


def _is_recorded(notebook: str, profile: str, run: config.Run | None = None, scores: Path | None = None) -> bool:
    """Whether a notebook has a record with the study's settings of today, and with these scores."""
    record = artefacts.record_if_any(profile, notebook, run.name if run else "")
    if not record:
        return False
    values = config.compose(notebook, profile, run)
    digest = provenance.sha256(scores)[:16] if scores else ""
    same = not scores or record["inputs"].get(paths.shown(scores), digest) == digest  # 02 ended before there were scores
    return same and all(values.get(name) == value for name, value in record["parameters"].items())


def _changed_settings(profile: str, recorded: dict[str, Any]) -> str:
    """Names of the settings of 01 that decide essays, levels and splits and differ from the recorded ones; "" for none."""
    now = config.compose("01_prepare_data", profile)
    deciding = {name: (now.get(name), value) for name, value in recorded.items() if name not in ("groups", "options")}
    for name, value in recorded.get("options", {}).items():
        deciding[f"options: {name}"] = (now["options"].get(name), value)
    deciding.pop("options: groups", None)  # a further group of writers is another analysis of the same scores
    names = [name for name, (here, then) in deciding.items() if here != then]
    return f"{paths.shown(paths.params_file(profile))}: prepare_data: {', '.join(names)}" if names else ""


def _changed_files(profile: str, recorded: list[str]) -> str:
    """The study's files, where they are here and differ from the recorded ones; "" otherwise."""
    try:
        files = corpora.sources(config.load(profile).section("prepare_data"))
        return "" if _digests(profile, files) == recorded else ", ".join(map(paths.shown, files))
    except (CyborgError, OSError):
        return ""


def _needs(notebook: str) -> dict[str, Any]:
    """What a notebook says of the models it needs, in its metadata (see above); {} where it needs none."""
    return json.loads(paths.notebook(notebook).read_text(encoding="utf-8"))["metadata"].get("cyborg", {})


def _trains(section: dict[str, Any], need: dict[str, Any]) -> bool:
    """Whether a notebook with these settings trains networks of its own."""
    if "trains_unless" not in need:
        return False
    unless = need["trains_unless"]
    return not unless or any(section.get(name) != value for name, value in unless.items())


def _are_loadable(study: config.Study, section: dict[str, Any], kinds: list[str], known: list[str]) -> bool:
    """Whether one run's models of all these kinds are here, or will be, since the steps that make them are not kept."""
    if not kinds:
        return True
    runs = study.full_runs if section["labels"] == "full" else study.runs
    return any(
        all(f"{MODELS[kind]}_{run.name}" not in known or paths.build(study.profile, kind, run.name).is_dir() for kind in kinds)
        for run in runs
        if section["run"] in ("", run.name)
    )


def _digest(path: Path) -> str:
    """Fingerprint of a file. For a folder: of its essays and weights, where a file that is `LARGE` counts by its size."""
    if path.is_file():
        return provenance.sha256(path)[:16]
    files = [file for file in path.rglob("*") if file.suffix in (".arrow", ".safetensors") and not file.name.startswith("cache-")]
    sizes = {str(file.relative_to(path)): file.stat().st_size for file in files if "checkpoints" not in file.parts}
    parts = {name: size if size > LARGE else provenance.sha256(path / name) for name, size in sizes.items()}
    return provenance.fingerprint(parts)


def _digests(profile: str, files: list[Path]) -> list[str]:
    """Fingerprints of files as a record has them; remembered while a file's size and time of change stay the same."""
    cache = paths.build(profile, "running", "essays.json")
    states = {str(file.resolve()): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    known = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}
    if known.get("states") != states:
        named = {paths.shown(file): provenance.sha256(file)[:16] for file in files}
        known = {"states": states, "digests": [*named.values()]}
        atomic.write(cache, json.dumps(known))
    return known["digests"]
