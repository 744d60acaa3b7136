"""Write the result tables of README.md from results/: `.venv/bin/python tools/readme.py`. With --check, only say if they differ.

A block stands between `<!-- ellipse -->` and `<!-- end -->`: a study, `bench` (the speed) or `found` (one sentence a notebook).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd

from cyborg_utils.core import config
from cyborg_utils.study import arms, artefacts

README = Path(__file__).resolve().parent.parent / "README.md"
LABELS = {
    "human": "`human`: {u:,} human scores",
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
    whole = int(own.loc[own["arm"] == "full", "n_human"].max())
    names = ["human scores", "the Student learns from", "seeds", "QWK", "95 % interval", "share of the gap closed (over essays)"]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    own = own.assign(arm=pd.Categorical(own["arm"], list(LABELS))).sort_values(["fraction", "arm"])
    for row in own.itertuples():
        counts = {"u": int(row.n_human), "rest": whole - int(row.n_human), "all": whole}
        gap = arms.pick(gaps, student=model, head=head, fraction=row.fraction, labels=row.arm, resolved=True)
        share = "".join("{:.0%} ({:.0%} to {:.0%})".format(*found) for found in gap[["gap_closed", "low", "high"]].to_numpy())
        told = f"{row.low:.3f} to {row.high:.3f} ({row.interval_of})"
        lines.append(
            f"| {row.fraction:.0%} | {LABELS[row.arm].format(**counts)} | {row.seeds} | {row.qwk:.3f} | {told} | {share} |"
        )
    return "\n".join(lines)


def found(profile: str = "ellipse") -> str:
    """The sentence that each notebook beyond the paper found, from its record; a notebook that was not run says so."""
    lines = []
    for number, (notebook, question) in enumerate(QUESTIONS.items(), 1):
        file = artefacts.record_file(profile, notebook, "")
        folder, said = "notebooks", "*Not run on these essays yet.*"
        if file.is_file():
            record = json.loads(file.read_text(encoding="utf-8"))
            said = record["measured"].get("finding", "See the notebook.")
            said += _whose(record) if notebook == "13_attack_scorer" and "run u" not in said else ""
            folder = f"results/{profile}/notebooks"
        lines.append(f"{number}. **{question}** {said} ([{notebook[:2]}]({folder}/{notebook}.ipynb))")
    return "\n".join(lines)


def _whose(record: dict) -> str:
    """The run whose Teacher and Student a notebook took, by the scores that its record names as inputs."""
    runs = [hit[1] for name in record["inputs"] if (hit := re.search(r"/students_(u[\d.]+_s\d+)\.csv$", name))]
    return f" (Teacher and Student of run `{runs[0]}`.)" if runs else ""


def bench() -> str:
    """The table of `make bench` and the line that says where it ran."""
    parts = (README.parent / "results" / "bench" / "speed.md").read_text(encoding="utf-8").strip().split("\n\n")
    return "\n\n".join(parts[1:])


def written(text: str) -> str:
    """The README with every block made anew."""

    def block(hit: re.Match) -> str:
        name = hit.group(1)
        made = bench() if name == "bench" else found() if name == "found" else study(name)
        return f"<!-- {name} -->\n{made}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)


def main() -> None:
    old = README.read_text(encoding="utf-8")
    new = written(old)
    if "--check" in sys.argv:
        sys.exit("README.md: its tables are not those of results/. Run tools/readme.py." if new != old else 0)
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
