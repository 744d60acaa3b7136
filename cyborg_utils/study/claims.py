"""The headline claims of a study whose models were trained again, compared with the committed ones.

Training is never exactly repeatable: another processor, thread count or library gives other weights. So a claim need not be
reproduced exactly, only within training noise. The noise is measured (`results/robustness/noise.csv`, by
`benchmarks/machines.py`): SDs of one trained model's QWK and SMD over seeds and between machines, for Teacher, Student and
classical Student. A study retrained on the same essays differs by training noise alone. The choice of test essays, which is the
larger part of the intervals in its tables, cancels out.

With Var(arm) = SD^2 / seeds, the variance of a claim is

    QWK, SMD        Var(arm)
    difference      Var(system) + Var(baseline)
    gap closed      c = gained / gap with gained = cyborg - human and gap = full - human. For c of two trainings a and b,
                    (c_b - c_a) gap_a gap_b = gained_b gap_a - gained_a gap_b has mean 0 where nothing has changed, and variance
                    sum over a, b of Var(cyborg) gap^2 + Var(full) gained^2 + Var(human) (gained - gap)^2   (as in Fieller's)

A claim is outside its limit where |here - committed| > z sqrt(Var_a + Var_b), z = Phi^-1(1 - ALARM / (2 m)) for m claims. By
Bonferroni's inequality, which holds for dependent claims too, at most ALARM of honest retrainings of a study raise any alarm. SDs
are treated as known; where several sources give one, the largest counts. A verdict (equivalent, beyond chance, biased) that flips
while its number stays within the limit is shown but raises no alarm: near its border the smallest change flips it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scipy import stats

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.stats import fairness
from cyborg_utils.study import arms

ALARM = 0.05  # largest share of honest retrainings of a study that may raise an alarm
RULE = (
    f"A limit is what training noise alone leaves (the test essays are the same); at most {ALARM:.0%} of honest retrainings of a "
    "study go beyond any. A verdict that flips within its limit is no alarm."
)
COLUMNS = ["kind", "claim", "value", "variance", "verdict", "gained", "gap", "across"]
SD = dict[tuple[str, str], float]  # (kind, rater) -> SD of one trained model


def noise() -> SD:
    """The measured SDs: kind "qwk", "smd" or "group smd"; rater "teacher", "teacher-expected", "student" or "ridge".

    Where several sources give an SD, the largest counts.
    """
    file = paths.CHECKOUT / "results" / "robustness" / "noise.csv"
    return pd.read_csv(file).groupby(["kind", "rater"])["sd"].max().to_dict()


def rater(student: str, head: str = "", system: str = "") -> str:
    """The rater whose noise applies to a row, from its `student` and `head`, and in a comparison its `system` or `baseline`."""
    readings = {reading: name for name, reading in arms.TEACHER.items()}
    if student == "teacher" or system in arms.TEACHER:
        return system or readings[head]
    return "ridge" if student == "ridge" else "student"


def of_tables(tables: dict[str, pd.DataFrame], sd: SD, *, headline: tuple[str, str]) -> pd.DataFrame:
    """Every claim of a study, from its tables by name (without `table_`); columns `COLUMNS`.

    `across` is this training's term of the variance of "gap closed" (see above), NaN for other kinds. SMDs of groups are those of
    the headline Student and the Teacher, for groups that get a verdict. Raw scores are left out.
    """
    rows = []
    for row in arms.systems(tables["qwk"]).itertuples():
        place = f"{row.fraction:.0%} {row.arm} ({row.student}, {row.head})"
        rows.append(("qwk", f"QWK, {place}", row.qwk, sd["qwk", rater(row.student, row.head)] ** 2 / row.seeds, ""))
    for row in tables["comparisons"].itertuples():
        both = sum(sd["qwk", rater(row.student, row.head, name)] ** 2 for name in (row.system, row.baseline))
        verdict = f"{row.equivalence}, {'beyond' if row.p_holm < 0.05 else 'not beyond'} chance"
        name = f"difference, {row.fraction:.0%} {row.system} - {row.baseline} ({row.student}, {row.head})"
        rows.append(("difference", name, row.difference, both / row.seeds, verdict))
    for row in tables["gap_closed"][tables["gap_closed"]["resolved"].eq(True)].itertuples():
        variance = sd["qwk", rater(row.student)] ** 2 / row.seeds
        across = variance * (row.gap**2 + row.gained**2 + (row.gained - row.gap) ** 2)
        name = f"gap closed, {row.fraction:.0%} {row.labels} ({row.student}, {row.head})"
        rows.append(("gap closed", name, row.gap_closed, float("nan"), "", row.gained, row.gap, across))
    for row in arms.systems(tables["smd"]).query("scores != 'raw'").itertuples():
        overall, shown_arm = row.attribute == "all", (row.student, row.head) in (headline, ("teacher", "most likely"))
        if not overall and not (shown_arm and row.verdict in fairness.SIGNS):
            continue
        kind, of = ("smd", "all essays") if overall else ("group smd", f"{row.attribute} {row.group}")
        name = f"SMD, {row.fraction:.0%} {row.arm} ({row.student}, {row.head}), {of}"
        rows.append((kind, name, row.smd, sd[kind, rater(row.student, row.head)] ** 2 / row.seeds, row.verdict))
    table = pd.DataFrame([dict(zip(COLUMNS, row, strict=False)) for row in rows], columns=COLUMNS)
    return table.astype({"gained": float, "gap": float, "across": float})


def compared(committed: pd.DataFrame, here: pd.DataFrame, *, alarm: float = ALARM) -> pd.DataFrame:
    """One row per committed claim: kind, claim, committed, here, difference, limit, ok, verdict (old -> new where it flips).

    A claim that is no longer made here is not ok, unless its gap is no longer resolved.
    """
    old, new = committed.reset_index(drop=True), here.set_index("claim").reindex(committed["claim"]).reset_index(drop=True)
    ratio = (old["across"] + new["across"]) / (old["gap"] * new["gap"]) ** 2
    z = stats.norm.isf(alarm / (2 * len(old)))
    difference, limit = new["value"] - old["value"], z * (old["variance"] + new["variance"]).fillna(ratio) ** 0.5
    unclaimed = new["value"].isna() & (old["kind"] == "gap closed")  # the gap is not resolved here, so no share of it is claimed
    flips = new["verdict"].notna() & (old["verdict"] != new["verdict"])
    return old[["kind", "claim"]].assign(
        committed=old["value"],
        here=new["value"],
        difference=difference,
        limit=limit,
        ok=(difference.abs() <= limit) | unclaimed,
        verdict=old["verdict"].where(~flips, old["verdict"] + " -> " + new["verdict"].fillna("")),
    )


def held(committed: Path, here: Path, study: config.Study, sd: SD) -> pd.DataFrame:
    """`compared` for two folders of results. Raises CyborgError where a table is missing or the test essays differ."""
    files = [_read(folder / "scores" / "essays.csv") for folder in (committed, here)]
    old, new = (essays.loc[essays["split"] == "test", ["essay_id", "score"]].reset_index(drop=True) for essays in files)
    if not old.equals(new):
        raise CyborgError(
            f"{paths.shown(here / 'scores' / 'essays.csv')}: its test essays are not the committed ones, so that "
            "the claims cannot be held against each other: the limits know of training noise only."
        )
    names = ("qwk", "comparisons", "gap_closed", "smd")
    tables = [{name: _read(folder / "tables" / f"table_{name}.csv") for name in names} for folder in (committed, here)]
    return compared(*(of_tables(each, sd, headline=study.headline) for each in tables))


def shown(table: pd.DataFrame) -> str:
    """One line per claim, for a terminal."""
    width = table["claim"].str.len().max()
    lines = [f"{'claim':<{width}}  committed    here  difference   limit"]
    for row in table.itertuples():
        numbers = f"{row.committed:9.3f}  {row.here:6.3f}  {row.difference:+10.3f}  {row.limit:6.3f}"
        flip = f"  {row.verdict}" if "->" in row.verdict else ""
        lines.append(f"{row.claim:<{width}}  {numbers}  {'ok' if row.ok else 'NOT OK'}{flip}")
    return "\n".join(lines)


def _read(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise CyborgError(f"{paths.shown(file)}: not there, so that its claims cannot be compared.")
    return pd.read_csv(file, dtype={"essay_id": str})
