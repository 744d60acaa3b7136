"""The findings of a study on one page with links, `results/<profile>/summary.md`, from its saved tables and records.

`cyborg summary demo` writes it, and so does the last step of every `make reproduce`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.plots.style import label
from cyborg_utils.study import agreement_in_words, arms, artefacts, bias_in_words, run_tables, scores

FIGURES = ("figure_arms", "figure_qwk_by_fraction", "figure_smd")


def page(profile: str) -> str:
    """The page as Markdown. Raises CyborgError naming the notebook to run where a table is missing."""
    study = config.load(profile)
    student, head = study.headline
    sizes = artefacts.read_table(profile, "table_corpus").set_index("split")["essays"]
    data, teacher = study.section("prepare_data"), study.section("finetune_teacher")
    corpus = f"{data['corpus']}, {data['score']} on the scale {study.scale}: {sizes['train']:,} training, {sizes['dev']:,} "
    corpus += f"development and {sizes['test']:,} test essays. Teacher {teacher['model']}; Student {label(student)}, {head} head."
    tables = [_link(profile, "tables", f"table_{name}.csv") for name in ("comparisons", "gap_closed", "smd")]
    parts = [
        f"# {study.title}",
        "Made by `make summary` from the tables and records beside it; columns are described in "
        "[docs/columns.md](../../docs/columns.md).",
        study.note.strip(),
        corpus,
        "## What was found",
        _lines([*_gains(profile, student, head), *_groups(profile, student, head)]),
        f"Tables: {', '.join(tables)}.",
        "## Agreement with people on the test essays",
        _agreement(profile, student, head),
        *_figures(profile),
        "## Beyond the paper",
        _lines(_findings(profile, study)),
        "## How it was run",
        run_tables.machines_in_words(run_tables.machines(profile)),
        run_tables.attempts_in_words(run_tables.attempts(profile)),
        "## Not run",
        _lines(_absent(profile, study)),
        "## Executed notebooks",
        _lines(_link(profile, "notebooks", file.name) for file in sorted(paths.results(profile, "notebooks").glob("*.ipynb"))),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def write(profile: str) -> Path:
    """Write `results/<profile>/summary.md`."""
    return artefacts.write(paths.results(profile, "summary.md"), page(profile))


def in_short(profile: str) -> tuple[str, str] | None:
    """A study in two lines for a terminal: what was done, and the gain of Cyborg Data at the share that notebook 05 shows.

    None where 05 has not run yet, or compared no Student on Cyborg Data with one on the human scores alone.
    """
    record = artefacts.record_if_any(profile, "05_test_significance")
    if not (record and paths.results(profile, "tables", "table_comparisons.csv").is_file()):
        return None
    study, shown = config.load(profile), record["measured"]
    place = {name: shown[name] for name in ("fraction", "student", "head")}
    pairs = arms.pick(artefacts.read_table(profile, "table_comparisons"), system="cyborg", baseline="human", **place)
    if pairs.empty:
        return None
    row, simulated = pairs.iloc[0], study.section("prepare_data")["corpus"] == "simulated"
    done = f"{agreement_in_words.counted_seeds(row.seeds)} of {arms.paid(row.n_human, row.n_dev)}; Students scored {row.n:,} "
    done += f"{'simulated ' if simulated else ''}test essays."
    found = f"QWK {row.qwk_baseline:.3f} without a Teacher, {row.qwk:.3f} on Cyborg Data: {agreement_in_words.interval(row)}, "
    return done, f"{found}{_sure(row)}."


def _sure(row: pd.Series) -> str:
    return "beyond chance" if row.p_holm < 0.05 and row.low * row.high > 0 else "not beyond chance"


def _gains(profile: str, student: str, head: str) -> list[str]:
    """A line per fraction: the gain of Cyborg Data over few human scores, and the share of the gap to all of them it closes."""
    pairs = artefacts.read_table(profile, "table_comparisons")
    pairs = arms.pick(pairs, student=student, head=head, system="cyborg", baseline="human")
    gaps = arms.pick(artefacts.read_table(profile, "table_gap_closed"), student=student, head=head, labels="cyborg")
    lines = []
    for row in pairs.itertuples():
        line = f"With **{arms.paid(row.n_human, row.n_dev)}** QWK is {row.qwk_baseline:.3f} without a Teacher and {row.qwk:.3f} "
        line += f"on Cyborg Data ({agreement_in_words.counted_seeds(row.seeds)}): **{row.difference:+.3f}** "
        line += f"[{row.low:+.3f}, {row.high:+.3f}], {_sure(row)} after Holm's correction"
        for gap in gaps[gaps["fraction"] == row.fraction].itertuples():
            share = f"{gap.gap_closed:.0%} [{gap.low:.0%}, {gap.high:.0%}]"
            line += f"; {share} of the gap to all human scores" if gap.resolved else ""
        lines.append(line + ".")
    price = agreement_in_words.same_price(artefacts.read_table(profile, "table_qwk"), student=student, head=head)
    rivals = agreement_in_words.against_rivals(artefacts.read_table(profile, "table_rivals").query("labels == 'cyborg'"))
    further = {"The same number of human scores without a Teacher.": price, "Against the best rival without a Teacher:": rivals}
    return lines + [f"{start} {line.removeprefix('- ')}" for start, told in further.items() for line in told.split("\n")]


def _groups(profile: str, student: str, head: str) -> list[str]:
    """Groups scored differently on Cyborg Data: by the method, and by each trained Student; none where no group is judged."""
    file = paths.results(profile, "tables", "table_model_or_method.csv")
    if not file.is_file():
        return []
    counts = dict.fromkeys(["judged", "biased", "not_biased", "undecided"], "Int64")
    table = pd.read_csv(file).astype(counts).fillna({"biased_groups": ""})
    own = arms.pick(table, labels="cyborg", student=student, head=head)
    confidence = config.load(profile).section("analyze_bias")["confidence"]
    told = bias_in_words.model_or_method(own, confidence=confidence) if own["judged"].any() else ""
    return [f"Groups of writers: {line.removeprefix('- ')}" for line in told.split("\n") if line.startswith("- ")]


def _agreement(profile: str, student: str, head: str) -> str:
    """QWK with interval of the Teacher's two readings and of the headline Student, one row per arm."""
    own = arms.of_student(artefacts.read_table(profile, "table_qwk"), student, head)
    lines = ["| human scores (with development) | arm | seeds | QWK | interval | SMD |", "|---|---|---|---|---|---|"]
    for row in own.itertuples():
        interval = f"{row.low:.3f} to {row.high:.3f} ({row.interval_of})"
        lines.append(f"| {row.n_human:,} | {label(row.arm)} | {row.seeds} | {row.qwk:.3f} | {interval} | {row.smd:+.2f} |")
    return "\n".join(lines)


def _figures(profile: str) -> list[str]:
    images = []
    for name in FIGURES:
        words = paths.results(profile, "figures", f"{name}.alt.txt")
        if words.is_file():
            alt = words.read_text(encoding="utf-8").strip().replace("[", "(").replace("]", ")")
            images.append(f"![{alt}](figures/{name}.png)")
    return images


def _findings(profile: str, study: config.Study) -> list[str]:
    """The finding of each notebook beyond the paper, a sentence from its record."""
    lines = []
    for name in study.beyond:
        said = artefacts.record_if_any(profile, name).get("measured", {}).get("finding", "")
        lines += [f"{said} ({_link(profile, 'notebooks', f'{name}.ipynb')})"] if said else []
    return lines


def _absent(profile: str, study: config.Study) -> list[str]:
    names = [name for name in study.beyond if not artefacts.record_file(profile, name).is_file()]
    return [*(f"run {run}" for run in scores.missing(profile)), *names]


def _link(profile: str, kind: str, file: str) -> str:
    there = paths.results(profile, kind, file).is_file()
    return f"[{file.rsplit('.', 1)[0]}]({kind}/{file})" if there else file.rsplit(".", 1)[0]


def _lines(words: object) -> str:
    return "\n".join(f"- {line}" for line in words) or "Nothing."
