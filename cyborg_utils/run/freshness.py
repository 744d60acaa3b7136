"""What of a study stands already although this machine has not done it, and what no longer stands since its essays changed.

`make reproduce KEEP=1` goes on from a clone, which holds scores, tables and records, and neither essays nor models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cyborg_utils.core import atomic, config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora
from cyborg_utils.run.execute import compose
from cyborg_utils.study import artefacts

MODELS = {"teacher": "02_finetune_teacher", "students": "04_train_student"}  # folders in build/<profile>, and who fills them
LOADS = {"12_score_essays": ("students",), "13_attack_scorer": ("teacher", "students")}  # models of a run that are not made again


def kept(profile: str) -> list[str]:
    """Steps of 02, 03 and 04 that need not be done although `build` does not know them: their scores are in `results`.

    They count where the scores are those that their record names by fingerprint, and where it names the study's settings of today
    (a record does not know of settings that are younger than itself, nor of changes of code). So a study goes on from a clone.
    """
    study, found = config.load(profile), []
    for run in [*study.runs, *study.full_runs]:
        steps = {"02_finetune_teacher": "teacher", "03_label_essays": "teacher", "04_train_student": "students"}
        for notebook, kind in steps.items():
            if run not in study.runs and kind == "teacher":
                continue
            scores = paths.results(profile, "scores", f"{kind}_{run.name}.csv")
            if not (scores.is_file() and _is_recorded(notebook, profile, run, scores)):
                break  # what comes after it rests on it
            found.append(f"{notebook}_{run.name}")
    return [step for step in found if not _is_done(profile, step)]


def left_out(profile: str, known: list[str]) -> dict[str, bool]:
    """Notebooks beyond the paper that are not executed where the steps `known` are kept: whether their results are there already.

    They are those that would train models of their own, and those that load models which the kept steps have not left here.
    """
    study = config.load(profile)
    names = [name for name in study.beyond if known and not _is_done(profile, name)]
    return {
        name: _is_recorded(name, profile)
        and all(file.is_file() for each in artefacts.expected(name) for file in artefacts.files(profile, each))
        for name in names
        if _trains(study, name) or (name in LOADS and not _is_loadable(study, name, known))
    }


def forget_changed_essays(profile: str) -> list[str]:
    """Where the study's files (of essays, the rubric) or the settings of their splits are not those that its record of 01 names,
    nothing made from them counts.

    The stamps of all steps are dropped, and the records of its models, without which their scores are not `kept`; one line of
    words then. Files that are not there change nothing: a prepared study does not need them any more.
    """
    file = artefacts.record_file(profile, "01_prepare_data")
    if not file.is_file():
        return []
    record = json.loads(file.read_text(encoding="utf-8"))
    changed = _changed_settings(profile, record["parameters"]) or _changed_files(profile, [*record["inputs"].values()])
    stale = [*paths.build(profile, "done").glob("*.json"), *paths.results(profile, "records").glob("0[234]_*.json")]
    if not changed or not stale:
        return []
    for step in stale:
        step.unlink()
    return [f"{changed}: not what {paths.shown(file)} was made from; every step is done again, and no earlier scores are kept."]


# ---------------------------------------------------------------- helpers


def _is_done(profile: str, step: str) -> bool:
    return paths.build(profile, "done", f"{step}.json").is_file()


def _is_recorded(notebook: str, profile: str, run: config.Run | None = None, scores: Path | None = None) -> bool:
    """Whether there is a record of a notebook with the study's settings of today, and with the scores that are there."""
    file = artefacts.record_file(profile, notebook, run.name if run else "")
    if not file.is_file():
        return False
    record, values = json.loads(file.read_text(encoding="utf-8")), compose(notebook, profile, run)
    digest = provenance.sha256(scores)[:16] if scores else ""
    same = not scores or record["inputs"].get(paths.shown(scores), digest) == digest  # 02 ended before there were scores
    return same and all(values.get(name) == value for name, value in record["parameters"].items())


def _changed_settings(profile: str, recorded: dict[str, Any]) -> str:
    """Settings of 01 that decide which essays, levels and splits there are, where they differ from the recorded ones."""
    now = compose("01_prepare_data", profile)
    deciding = {name: (now.get(name), value) for name, value in recorded.items() if name not in ("groups", "options")}
    for name, value in recorded.get("options", {}).items():
        deciding[f"options: {name}"] = (now["options"].get(name), value)
    deciding.pop("options: groups", None)  # a further group of writers is another analysis of the same scores
    names = [name for name, (here, then) in deciding.items() if here != then]
    return f"{paths.shown(paths.params_file(profile))}: prepare_data: {', '.join(names)}" if names else ""


def _changed_files(profile: str, recorded: list[str]) -> str:
    """The study's files, where they are here and are not the recorded ones."""
    try:
        files = corpora.sources(config.load(profile).section("prepare_data"))
        return "" if _digests(profile, files) == recorded else ", ".join(map(paths.shown, files))
    except (CyborgError, OSError):
        return ""


def _trains(study: config.Study, notebook: str) -> bool:
    """Whether a notebook beyond the paper trains networks of its own."""
    section = study.section(notebook)
    own = {
        "07_calibrate_student": section.get("penalty_seeds"),
        "08_score_traits": True,
        "09_compare_teachers": True,
        "10_transfer_corpora": section.get("labels"),
        "11_cost": section.get("students") != ["ridge"],
    }
    return bool(own.get(notebook))


def _is_loadable(study: config.Study, notebook: str, known: list[str]) -> bool:
    """Whether a run's models are here, or will be since its steps are not kept."""
    section = study.section(notebook)
    runs = study.full_runs if section["labels"] == "full" else study.runs
    return any(
        all(
            f"{MODELS[kind]}_{run.name}" not in known or paths.build(study.profile, kind, run.name).is_dir()
            for kind in LOADS[notebook]
        )
        for run in runs
        if section["run"] in ("", run.name)
    )


def _digests(profile: str, files: list[Path]) -> list[str]:
    """Fingerprints of files as a record has them; those of an earlier call where size and time of change are still the same."""
    cache = paths.build(profile, "running", "essays.json")
    states = {str(file.resolve()): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    known = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}
    if known.get("states") != states:
        named = {paths.shown(file): provenance.sha256(file)[:16] for file in files}
        known = {"states": states, "digests": [*named.values()]}
        atomic.write(cache, json.dumps(known))
    return known["digests"]
