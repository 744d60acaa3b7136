"""A model card for every saved Student and a data card for a study's scores, filled from the study's tables and records.

`cyborg cards ellipse` writes them anew. Nothing is computed again; what a study has not measured is called "not measured yet".
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.extensions.scoring import bundle
from cyborg_utils.models import weights
from cyborg_utils.stats import conformal
from cyborg_utils.study import arms, artefacts, bias, scores

UNKNOWN = "not measured yet"
CONFIDENCE = 0.90  # of the interval in a model card
HUB_ID = re.compile(r"\(?([\w.-]+/[\w.-]+) @ ")  # in the `role` of weights.yaml
# corpus -> its name, its licence, where it comes from
SOURCES = {
    "simulated": ("simulated essays", "MIT", "written by a program, `cyborg_utils/data/simulated.md`"),
    "ellipse": ("ELLIPSE", "CC BY-NC-SA 4.0", "https://github.com/scrosseye/ELLIPSE-Corpus"),
    "persuade": ("PERSUADE 2.0", "CC BY-NC-SA 4.0", "https://github.com/scrosseye/persuade_corpus_2.0"),
    "asap1": ("ASAP-1", "rules of its Kaggle competition", "https://www.kaggle.com/c/asap-aes"),
    "asap2": ("ASAP 2.0", "CC BY-NC-SA 4.0", "https://github.com/scrosseye/ASAP_2.0"),
    "table": ("own essays", "not known here: say which", "the study's own file"),
}


def write(profile: str) -> list[Path]:
    """Write README.md beside every Student that `bundle.write` made ready, and beside the study's scores; return the files."""
    written = []
    for name in bundle.saved(profile):
        if (name.folder(profile) / bundle.FILE).is_file():
            written.append(name.folder(profile) / "README.md")
            artefacts.write(written[-1], model_card(profile, name))
    written.append(paths.results(profile, "scores", "README.md"))
    artefacts.write(written[-1], data_card(profile))
    return written


def model_card(profile: str, name: bundle.Name) -> str:
    """The card of a saved Student in the format of the Hugging Face hub: a YAML header and Markdown."""
    study, ready = config.load(profile), bundle.read(name.folder(profile))
    arm = {"student": name.model, "head": name.head, "labels": name.labels}
    own = _row(profile, f"table_students_{name.run}", arm)
    fraction = _fraction(study, name.run)
    judged = _row(profile, "table_qwk", arm | {"fraction": fraction})
    groups = _groups(profile, name)
    width = conformal.half_width(ready.line.residuals, CONFIDENCE)
    common = _common(profile)
    facts = common | {
        "name": name,
        "settings": json.loads((name.folder(profile) / "student.json").read_text(encoding="utf-8"))["settings"],
        "base": _hub_id(name.model),
        "trained": _trained(profile, name, common["sizes"]),
        "own": own,
        "judged": judged,
        "groups": groups.to_dict("records"),
        "cut": _row(profile, f"table_truncation_{name.run}", {"model": name.model}),
        "width": width if math.isfinite(width) else None,
        "confidence": CONFIDENCE,
        "ready": ready,
        "intervals": _rows(profile, "table_intervals", arm | {"run": name.run}).to_dict("records"),
        "promises": _rows(profile, "table_selective", arm | {"run": name.run}).to_dict("records"),
        "coverage": _row(profile, "table_coverage", arm | {"run": name.run, "attribute": "all"}),
        "folder": paths.shown(name.folder(profile)),
        "record": artefacts.record_if_any(profile, "04_train_student", name.run),
    }
    return _filled("model_card.md.j2", facts)


def _groups(profile: str, name: bundle.Name) -> pd.DataFrame:
    """`bias.smd_of_runs` of this very Student, its match as it is; empty where the study has no groups."""
    study, students = config.load(profile), scores.students(profile)
    columns = [column for column in students if column.startswith("groups.")]
    own = arms.pick(students, part="test", student=name.model, head=name.head, labels=name.labels, run=name.run)
    if own.empty or not columns:
        return own[:0]
    how = study.section("analyze_bias")
    options = {"resamples": how["resamples"], "confidence": how["confidence"], "seed": how["analysis_seed"]}
    options |= {"limit": how["smd_limit"], "min_group": how["min_group"], "scale": study.scale, "groups": columns}
    return bias.smd_of_runs(own, "matched_value", **options)


def data_card(profile: str) -> str:
    """The card of the synthetic scores of a study, `results/<profile>/scores`."""
    study, runs = config.load(profile), []
    for run in scores.runs(profile, "teacher")[0]:
        given = pd.read_csv(scores.file(profile, f"teacher_{run.name}"), usecols=["part"])["part"].value_counts().to_dict()
        table = _rows(profile, f"table_teacher_quality_{run.name}", {"reading": "most likely"})
        quality = {row["part"]: row for row in table.to_dict("records")}
        teacher = artefacts.record_if_any(profile, "02_finetune_teacher", run.name)
        runs.append({"run": run, "given": given, "quality": quality, "teacher": teacher})
    files = sorted(paths.results(profile, "scores").glob("*.csv"))
    spread = _rows(profile, "table_distribution", {})
    facts = _common(profile) | {
        "runs": runs,
        "teacher": study.section("finetune_teacher"),
        "base": _hub_id(study.section("finetune_teacher")["model"]),
        "spread": spread.to_dict("records"),
        "levels": [f"{score:g}" for score in study.scale.scores],
        "files": [(file.name, len(pd.read_csv(file, usecols=[0]))) for file in files],  # rows: a prompt may have several lines
    }
    return _filled("data_card.md.j2", facts)


def folded(folder: Path) -> str:
    """The model card in a Student's folder for a notebook: without its header, folded, headings two levels lower."""
    card = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    lower = card.replace("\n# ", "\n### ").replace("\n## ", "\n#### ")
    return f"<details><summary>The model card</summary>\n\n{lower}\n</details>"


def _common(profile: str) -> dict[str, Any]:
    study = config.load(profile)
    data = study.section("prepare_data")
    sizes = scores.essays(profile)["split"].value_counts().to_dict()
    corpus, licence, source = SOURCES[data["corpus"]]
    found = {"corpus": corpus, "licence": licence, "source": source, "sizes": sizes, "data": data}
    return found | {"profile": profile, "study": study, "scale": study.scale}


def _trained(profile: str, name: bundle.Name, sizes: dict[str, int]) -> str:
    """Which scores the Student learned from, in words and numbers."""
    if name.labels == "full":
        return f"{sizes['train']:,} human scores"
    given = pd.read_csv(scores.file(profile, f"teacher_{name.run}"), usecols=["part"])["part"].value_counts()
    words = {
        "human": "{u:,} human scores",
        "human+dev": "{u:,} human scores, and {dev:,} of development essays",
        "cyborg": "{u:,} human scores and {pool:,} synthetic ones, the Teacher's most likely level",
        "cyborg-soft": "{u:,} human scores and {pool:,} synthetic ones, the Teacher's expected score or distribution",
        "cyborg-staged": "first {pool:,} synthetic scores (the Teacher's expected), then {u:,} human ones",
    }
    return words[name.labels].format(u=given.get("U", 0), pool=given.get("pool", 0), dev=sizes["dev"])


def _fraction(study: config.Study, run: str) -> float:
    return next(one.fraction for one in (*study.runs, *study.full_runs) if one.name == run)


def _hub_id(model: str) -> str:
    """The hub id of a model: its name, or what weights.yaml says of a short name; "" where it has none."""
    role = weights.registry().get(model, {}).get("role", "")
    if match := HUB_ID.search(role) or re.search(r"of ([\w.-]+/[\w.-]+?)\b[,)]", role):
        return match[1]
    return model.split("@")[0] if model.count("/") == 1 and not Path(paths.home() / model).exists() else ""


def _rows(profile: str, table: str, wanted: dict[str, Any]) -> pd.DataFrame:
    """Rows of a saved table with these values; an empty frame where the table or a column is missing."""
    file = paths.results(profile, "tables", f"{table}.csv")
    frame = pd.read_csv(file) if file.is_file() else pd.DataFrame()
    for column, value in wanted.items():
        frame = frame[frame[column] == value] if column in frame else frame[:0]
    return frame


def _row(profile: str, table: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """The first of `_rows`; {} if there is none."""
    return next(iter(_rows(profile, table, wanted).to_dict("records")), {})


def _filled(template: str, facts: dict[str, Any]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    around = jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    around.filters["number"] = _number
    return around.get_template(template).render(unknown=UNKNOWN, **facts).strip() + "\n"


def _number(value: Any, form: str = ".3f") -> str:
    """A number in a card; `UNKNOWN` if it is missing."""
    known = value is not None and not isinstance(value, jinja2.Undefined) and value == value
    return format(value, form) if known else UNKNOWN
