"""Six public scorers of PERSUADE's official test set, audited: `.venv/bin/python benchmarks/public_scorers.py FILE`.

XLNet, RoBERTa and Longformer, each plain and with gradient reversal against group information (SCU-CSEN346/
Analyzing-Demographic-Biases, commit 1d9b03c, MIT). FILE has a row an essay: essay_id, human_score, prompt_name, five groups of
writers and the six machines; no text. It is licensed like the corpus (CC BY-NC-SA 4.0) and not part of this repository; only
aggregates are.

Writes results/public_scorers: the tables and figures of `cyborg audit` with several machines, report.html and audit.json,
power.csv (verdicts that smaller samples would reach), README.md and record.json. Essays that one of the machines has not scored
are left out for all, and counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from cyborg_utils.core import paths, provenance
from cyborg_utils.core.atomic import write
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.audit import machines, report, sentences
from cyborg_utils.plots import group_plots
from cyborg_utils.stats import fairness
from cyborg_utils.stats.fairness import SIGNS
from cyborg_utils.study import artefacts
from cyborg_utils.study.bias_in_words import judged
from cyborg_utils.study.sentences import treated

NAME = "public_scorers"
MODELS = ("xlnet", "roberta", "longformer")
PLAIN, REVERSED = "base", "grl"
GROUPS = ["gender", "race_ethnicity", "ell_status", "economically_disadvantaged", "student_disability_status"]
SCALE = Scale(1, 6)
LIMIT = 0.10  # of |SMD|
SIZES = {500: 10, 2_000: 10}  # essays of a smaller audit, and how often one is drawn
DRAW_RESAMPLES = 1_000  # of each such audit


def decided(scored: machines.Machines, *, min_group: int, confidence: float, seed: int) -> pd.DataFrame:
    """Verdicts of audits of fewer essays, drawn from these: machine, essays, draw, judged (groups), and a column a verdict."""
    rng, rows = np.random.default_rng(seed), []
    count = len(next(iter(scored.values())))
    places = [(size, draw, rng.permutation(count)[:size]) for size, times in SIZES.items() for draw in range(times)]
    for size, draw, place in tqdm(places, desc="smaller audits"):
        for name, essays in scored.items():
            how = {"groups": [f"groups.{group}" for group in GROUPS], "scale": SCALE, "limit": LIMIT, "min_group": min_group}
            own = {"resamples": DRAW_RESAMPLES, "confidence": confidence, "seed": seed}
            counts = judged(fairness.smd_by_group(essays.iloc[place], **how, **own))["verdict"].value_counts()
            verdicts = {verdict: int(counts.get(verdict, 0)) for verdict in SIGNS}
            rows.append({"machine": name, "essays": size, "draw": draw, "judged": sum(verdicts.values()), **verdicts})
    return pd.DataFrame(rows)


def in_short(comparisons: pd.DataFrame, changes: pd.DataFrame) -> str:
    """What gradient reversal changed, in two sentences."""
    better = int(((comparisons["p_holm"] < 0.05) & (comparisons["difference"] > 0)).sum())
    groups = changes[changes["attribute"] != "all"]
    counts = (
        groups.groupby("measure")["effect"].value_counts().unstack(fill_value=0).reindex(columns=["smaller", "larger"]).fillna(0)
    )
    told = [f"|{name}| is smaller in {row.smaller:.0f} and larger in {row.larger:.0f}" for name, row in counts[::-1].iterrows()]
    moved = counts.sum(axis=1)
    common = " It moved the leniency that all writers share, far more than how one group is treated against another."
    return (
        f"With reversal {better} of {len(comparisons)} models agree better with people, beyond chance. Of {len(groups) // 2} "
        f"comparisons of a group, {'; '.join(told)}.{common if 4 * moved['DSM'] < moved['SMD'] else ''}"
    )


def in_markdown(by_group: pd.DataFrame) -> str:
    """SMD with the verdict's mark, a row a group and a column a machine."""
    cells = [f"{row.smd:+.2f}{SIGNS.get(row.verdict, '')}".replace("-", "−") for row in by_group.itertuples()]
    names = ["attribute", "group", "n"]
    by_group = by_group.assign(n=by_group["n"].map("{:,}".format))
    wide = by_group[[*names, "machine"]].assign(cell=cells).pivot(index=names, columns="machine", values="cell")
    order = pd.MultiIndex.from_frame(by_group[names].drop_duplicates())
    return wide.reindex(order)[by_group["machine"].unique()].reset_index().to_markdown(index=False)


def power_in_words(by_group: pd.DataFrame, smaller: pd.DataFrame, essays: int) -> str:
    """How many verdicts are decided with all essays, and how many in smaller audits."""
    rows = judged(by_group)
    open_ = rows[rows["verdict"] == "undecided"]
    listed = "; ".join(
        f"{name} (n = {part['n'].iloc[0]:,}): {', '.join(part['machine'])}" for name, part in open_.groupby("group")
    )
    count = by_group["machine"].nunique()
    lines = [
        f"With {essays:,} essays **{len(rows) - len(open_)} of {len(rows)}** verdicts ({count} machines, {len(rows) // count} "
        f"groups) are decided. The others have too few essays, or a gap too near to the limit: {listed or 'none'}."
    ]
    for size, part in smaller.groupby("essays"):
        share = 1 - part["undecided"] / part["judged"]
        lines.append(
            f"An audit of {size:,} of these essays ({part['draw'].nunique()} draws) decides {share.mean():.0%} of its "
            f"verdicts on groups ({share.min():.0%} to {share.max():.0%} from draw to draw and machine to machine)."
        )
    return " ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="published_predictions_test.csv")
    parser.add_argument("--resamples", type=int, default=5_000)
    options = parser.parse_args()
    names = [f"{model}_{kind}" for model in MODELS for kind in (PLAIN, REVERSED)]
    raw = pd.read_csv(options.file, dtype=str, keep_default_na=False)
    whole = raw[(raw[names] != "").all(axis=1)]
    kept = paths.build(NAME, "scored_by_all.csv")
    write(kept, whole.to_csv(index=False))
    columns = {"id": "essay_id", "human": "human_score", "prompt": "prompt_name", "groups": GROUPS}
    scored = machines.load(kept, machines=names, scale=SCALE, **columns)
    limits = {"margin": 0.05, "min_group": 10, "confidence": 0.95}
    wishes = [(f"{model}_{REVERSED}", f"{model}_{PLAIN}") for model in MODELS]
    tables = machines.audit(scored, SCALE, pairs=wishes, limit=LIMIT, **limits, resamples=options.resamples, seed=1)
    by_group = tables["machines_smd"]
    for name, table in tables.items():
        artefacts.save_table(NAME, f"table_audit_{name}", table)
    smaller = decided(scored, min_group=10, confidence=0.95, seed=1)
    shown = by_group[by_group["group"] != fairness.NOT_RECORDED]
    for name, value in (("figure_audit_machines", "smd"), ("figure_audit_machines_dsm", "dsm")):
        artefacts.save_figure(NAME, name, group_plots.smd_forest(shown, stage="machine", limit=LIMIT, value=value))
    write(paths.results(NAME, "power.csv"), smaller.to_csv(index=False, lineterminator="\n"))
    left = f"{len(raw) - len(whole)} of {len(raw):,} essays are left out, since a machine has no score of them."
    settings = limits | {"scale": [SCALE.low, SCALE.high, SCALE.step], "smd_limit": LIMIT, "resamples": options.resamples}
    settings |= {"analysis_seed": 1}
    found = report.result(tables, source=options.file.name, essays=len(whole), settings=settings)
    report.write_files(NAME, found, notes=[left], figures=["figure_audit_machines"])
    page = PAGE.format(
        essays=f"{len(whole):,}",
        prompts=whole["prompt_name"].nunique(),
        left=left,
        treated=treated(by_group, "machine"),
        short=in_short(tables["comparisons"], tables["changes"]),
        compared=sentences.compared(tables["comparisons"]),
        changed=sentences.changed(tables["changes"]),
        power=power_in_words(by_group, smaller, len(whole)),
        table=in_markdown(by_group),
        figures="\n\n".join(f"![{words}](figures/{name}.png)" for name, words in FIGURES.items()),
    )
    write(paths.results(NAME, "README.md"), page)
    measured = {"essays": len(whole), "left_out": len(raw) - len(whole)}
    record = provenance.record(settings, inputs=[options.file], measured=measured)
    provenance.write_json(paths.results(NAME, "record.json"), record)
    print(page)


FIGURES = {
    "figure_audit_machines": "SMD with interval, for each group six machines; the numbers are in the table above",
    "figure_audit_machines_dsm": "DSM with interval, for each group six machines; tables/table_audit_machines_smd.csv has it",
}
PAGE = """# Six public scorers, audited

Written by `benchmarks/public_scorers.py`. XLNet, RoBERTa and Longformer, each plain (`base`) and with gradient reversal against
group information (`grl`), trained by others
([SCU-CSEN346/Analyzing-Demographic-Biases](https://github.com/SCU-CSEN346/Analyzing-Demographic-Biases), MIT).
{essays} essays of PERSUADE 2.0's official test set, {prompts} prompts. {left}

Scores count as they were given, without a match of mean and SD. These are single trained models: what training them again would
change is not known, nor on which groups the reversal worked. The corpus is licensed CC BY-NC-SA 4.0 (Crossley et al. 2024); only
aggregates stand here.

For a manager: [report.html](report.html). For a program: [audit.json](audit.json). Tables: [tables](tables), explained in
[columns](../../docs/columns.md). Smaller audits: [power.csv](power.csv).

## Whom does each treat differently?

A group is treated differently (✗) where its SMD and the whole interval lie beyond ±0.10, and is not (✓) where
the interval lies within.

{table}

{treated}

## Did gradient reversal help?

{short}

**Agreement.** Differences in QWK on the same essays (paired):

{compared}

**Groups of writers.** Changes of |SMD| and |DSM|, paired over each group's essays; "smaller" and "larger" are beyond chance, with
Holm's correction over all of them. SMD contains a leniency common to all writers; DSM does not. Only DSM shows whether *groups*
are treated more alike.

{changed}

## Whose verdicts are decided at this power?

{power}

{figures}
"""


if __name__ == "__main__":
    main()
