"""Write the numbers of README.md and docs/results.md from results/: `.venv/bin/python tools/readme.py`.

A block stands between `<!-- ellipse -->` and `<!-- end -->`: a study, `bench` (the speed), `found` (one sentence a notebook) or
`claim` (the README's one sentence). With --check, it only says which page differs.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.study import agreement_in_words, arms, artefacts, bias

HOME = Path(__file__).resolve().parent.parent
PAGES = (HOME / "README.md", HOME / "docs" / "results.md")
LABELS = {
    "human": "`human`: {u:,} human scores",
    "human+dev": "`human+dev`: {paid:,} human scores, those of the development essays too",
    "cyborg": "`cyborg`: + {rest:,} scores, the Teacher's most likely",
    "cyborg-soft": "`cyborg-soft`: + {rest:,} scores, the Teacher's expected",
    "cyborg-staged": "`cyborg-staged`: first {rest:,} Teacher scores, then {u:,} human ones",
    "full": "`full`: {all:,} human scores",
    "teacher": "the Teacher itself, most likely score",
    "teacher-expected": "the Teacher itself, expected score, matched",
}
QUESTIONS = {  # the paper's open ones, and two of ours
    "07_calibrate_student": "Can calibration take the bias off?",
    "08_score_traits": "Does it work for traits?",
    "09_compare_teachers": "Where do high scores get lost, and which Teacher is best?",
    "10_transfer_corpora": "Does it carry over?",
    "11_cost": "What does a score cost?",
    "13_attack_scorer": "Can a writer trick it?",
}


def study(profile: str) -> str:
    """QWK with interval and the share of the gap closed, a row for every arm of the first Student, for each fraction."""
    model, head = config.load(profile).headline
    qwk, gaps = arms.systems(artefacts.read_table(profile, "table_qwk")), artefacts.read_table(profile, "table_gap_closed")
    own = qwk[((qwk["student"] == model) & (qwk["head"] == head)) | (qwk["student"] == "teacher")]
    whole = int((own["n_human"] - own["n_dev"])[own["arm"] == "full"].max())
    names = [
        "human scores paid for",
        "the Student learns from",
        "seeds",
        "QWK",
        "95 % interval",
        "share of the gap closed (over essays)",
    ]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    own = own.assign(arm=pd.Categorical(own["arm"], list(LABELS))).sort_values(["fraction", "arm"])
    for row in own.itertuples():
        u = int(row.n_human - row.n_dev)
        counts = {"u": u, "rest": whole - u, "all": whole, "paid": int(row.n_human)}
        gap = arms.pick(gaps, student=model, head=head, fraction=row.fraction, labels=row.arm, resolved=True)
        share = "".join("{:.0%} ({:.0%} to {:.0%})".format(*values) for values in gap[["gap_closed", "low", "high"]].to_numpy())
        interval = f"{row.low:.3f} to {row.high:.3f} ({row.interval_of})"
        lines.append(
            f"| {u:,} + {row.n_dev:,} development | {LABELS[row.arm].format(**counts)} | {row.seeds} | {row.qwk:.3f} | {interval}"
            f" | {share} |"
        )
    return "\n".join(lines)


def found(profile: str = "ellipse") -> str:
    """The sentence that each notebook beyond the paper found, from its record; a notebook that was not run says so."""
    lines = []
    for number, (notebook, question) in enumerate(QUESTIONS.items(), 1):
        file = artefacts.record_file(profile, notebook, "")
        page, sentence = os.path.relpath(paths.notebook(notebook), paths.CHECKOUT), "*Not run on these essays yet.*"
        if file.is_file():
            record = json.loads(file.read_text(encoding="utf-8"))
            sentence = record["measured"].get("finding", "See the notebook.")
            sentence += _whose(record) if notebook == "13_attack_scorer" and "run u" not in sentence else ""
            page = f"results/{profile}/notebooks/{notebook}.ipynb"
        lines.append(f"{number}. **{question}** {sentence} ([{notebook[:2]}](../{page}))")
    return "\n".join(lines)


def claim(profile: str = "ellipse") -> str:
    """A paragraph: QWK with few human scores, on Cyborg Data, with all; what the same number of scores buys; what is missing."""
    study = config.load(profile)
    model, head = study.headline
    tables = {name: artefacts.read_table(profile, f"table_{name}") for name in ("qwk", "gap_closed", "model_or_method")}
    qwk, fraction = arms.systems(tables["qwk"]), min(run.fraction for run in study.runs)
    few, cyborg = (arms.pick(qwk, student=model, head=head, fraction=fraction, arm=arm).iloc[0] for arm in ("human", "cyborg"))
    full = arms.pick(qwk, student=model, head=head, arm="full").iloc[0]
    gap = arms.pick(tables["gap_closed"], student=model, head=head, fraction=fraction, labels="cyborg").iloc[0]
    said = [
        "On 500 real test essays ([ELLIPSE](https://github.com/scrosseye/ELLIPSE-Corpus), nine half-point levels), with "
        f"{few['n_human']} human scores ({few['n_human'] - few['n_dev']} to learn from, {few['n_dev']} for development) a "
        f"Student of 22M parameters reaches a QWK of {few['qwk']:.3f}, with a 0.5B-parameter Teacher's scores of the other "
        f"{full['n_human'] - few['n_human']:,} essays {cyborg['qwk']:.3f}, and with all {full['n_human']:,} human scores "
        f"{full['qwk']:.3f} ({cyborg['seeds']} seeds each)."
    ]
    if gap["resolved"]:
        said.append(f"That closes {gap['gap_closed']:.0%} of the gap (95 % interval {gap['low']:.0%} to {gap['high']:.0%}).")
    for row in (
        agreement_in_words.equal_price(tables["qwk"], student=model, head=head).query("cyborg_fraction == @fraction").itertuples()
    ):
        said.append(
            f"But a Student that learns from {row.learnt} human scores, about as many as Cyborg Data cost, has {row.qwk:.3f} "
            f"({agreement_in_words.counted_seeds(row.seeds)}): what synthetic scores bring at the same price is "
            f"**{cyborg['qwk'] - row.qwk:+.3f}**, not {cyborg['qwk'] - few['qwk']:+.3f}."
        )
    said += ["No rater reaches the 0.70 that practice asks for, all human scores included."] if qwk["qwk"].max() < 0.70 else []
    judged = arms.pick(tables["model_or_method"], student=model, head=head, fraction=fraction, labels="cyborg")
    models = judged[judged["speaks_of"] != bias.METHOD]
    count, shown = int((models["biased"] > 0).sum()), "not shown" if judged["biased"].iloc[0] == 0 else "shown"
    who = f"{count} of its {len(models)} trained Students treat{'s' if count == 1 else ''} some group of writers differently"
    said.append(f"{who}; the method is {shown} to.")
    return " ".join(said)


def _whose(record: dict) -> str:
    """The run whose Teacher and Student a notebook took, by the scores that its record names as inputs."""
    runs = [hit[1] for name in record["inputs"] if (hit := re.search(r"/students_(u[\d.]+_s\d+)\.csv$", name))]
    return f" (Teacher and Student of run `{runs[0]}`.)" if runs else ""


def bench() -> str:
    """The table of `make bench` and the line that says where it ran."""
    parts = (HOME / "results" / "bench" / "speed.md").read_text(encoding="utf-8").strip().split("\n\n")
    return "\n\n".join(parts[1:])


def written(text: str) -> str:
    """A page with every block made anew."""

    def block(hit: re.Match) -> str:
        name = hit.group(1)
        own = {"bench": bench, "found": found, "claim": claim}
        return f"<!-- {name} -->\n{own[name]() if name in own else study(name)}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)


def main() -> None:
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = written(old)
        if "--check" not in sys.argv:
            page.write_text(new, encoding="utf-8")
        elif new != old:
            sys.exit(f"{page.relative_to(HOME)}: its numbers are not those of results/. Run tools/readme.py.")


if __name__ == "__main__":
    main()
