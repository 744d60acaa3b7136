"""Does the page of `cyborg label` keep its promises? `benchmarks/promises.py`.

    .venv/bin/python -P benchmarks/promises.py simulated-1 simulated-2 ellipse     # -P: benchmarks/coverage.py is not the package

A corpus that is scored throughout loses 90 % of its scores, at random and many times. What the page then promises, from the tenth
that is left, is compared with the removed scores: intervals of agreement, of gaps by group, of single essays and of means, the
guarantee, the forecast of the learning curve. In a second pass slips are planted into the scores that are left, each at least a
third of the scale away, and the suspects are compared with them.

`no-model` tests the guarantee alone: scores of people and machine are drawn from normal distributions, so that its true risk is
known, for promises that are false for every half of the essays and such as are true of all.

Writes results/promises/<corpus>.csv (one row a draw and promise, after every draw), kept.csv, promises.md, promises.json. A
stopped run goes on. The states of all essays are computed once. One core: a draw takes about 10 seconds (ELLIPSE).
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from tqdm.auto import tqdm

from cyborg_utils.core import config, paths, provenance
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora, simulated
from cyborg_utils.extensions.labelling import asked, machines, promises, report
from cyborg_utils.extensions.labelling import essays as tables
from cyborg_utils.extensions.labelling import plan as plans
from cyborg_utils.extensions.labelling.machines import STUDENT, TEACHER
from cyborg_utils.models import prompt, states
from cyborg_utils.stats import conformal, fairness, metrics, selective
from cyborg_utils.stats.calibration import MeanSdMatch
from cyborg_utils.study import artefacts

SHARE = 0.10  # of the essays that keep their score
SLIPS = 0.05  # of these that are changed
WISHES = (
    ("adjacent", 0.95),
    ("adjacent", 0.90),
    ("exact", 0.50),
    ("error", 0.60),
)  # kind and value; an error in steps of the scale
SLIPS_OF, SUMMARY = "_slips.csv", "_summary.csv"  # ends of file names; others have a row for each draw and promise
KEPT = "kept.csv"  # all corpora: a row for each promise
COLUMNS = ["corpus", "draw", "promise", "case", "stated", "kept", "value", "size"]


class Corpus(NamedTuple):
    """All essays with all scores, and their features; `essays` has the columns of `Essays.frame`."""

    name: str
    essays: pd.DataFrame
    scale: Scale
    features: machines.Features


def load(name: str, *, size: int, teacher: states.Reading | None) -> Corpus:
    """`simulated-<seed>`, or a study of params/ (its corpus must be at hand), with its own Teacher and Student where it has
    a section `label_your_essays`."""
    pupil = plans.STUDENT
    if name.startswith("simulated"):
        frame = pd.DataFrame(simulated.essays(size, int(name.partition("-")[2] or 1)))
        scale, rubric = Scale(1, 6), prompt.rubric("simulated", "score")
    else:
        study = config.load(name)
        data = study.section("prepare_data")
        frame, scale = corpora.frame(corpora.build(data).dataset, text=True), study.scale
        task = asked.task_of_study(name)
        rubric, pupil, teacher = task.rubric, task.student, task.known or teacher
    frame["assignment"] = frame["assignment"].fillna("")
    given = tables.Essays(frame.assign(copy=np.arange(len(frame))), scale, name)  # all scored: every word of the corpus counts
    plan = plans.Plan(teacher, pupil, 0)
    name += "" if plan.teacher else "_no_teacher"
    return Corpus(name, given.frame, scale, machines.features(given, plan, rubric=rubric))


def drawn(corpus: Corpus, draw: int, *, share: float = SHARE) -> tables.Essays:
    return tables.hidden(corpus.essays, corpus.scale, corpus.name, share=share, seed=draw)


def check(corpus: Corpus, draw: int, *, forecast: bool, folds: int = machines.FOLDS) -> Iterator[dict[str, Any]]:
    """Rows of `COLUMNS` without corpus and draw: was each promise kept (None: nothing was promised)?"""
    some, true = drawn(corpus, draw), corpus.essays["score"].to_numpy()
    settings = report.Settings(resamples=1000, folds=folds, draws=3 if forecast else 0, seed=draw)
    page = report.make(some, corpus.features, settings)
    blank, scale = some.blank, corpus.scale
    hidden = true[blank]
    yield from _agreement(page, hidden)
    yield from _groups(page, corpus, hidden)
    yield from _single(page, hidden)
    for kind, value in WISHES:
        wish = promises.Wish.of(kind, value * (scale.step if kind == "error" else 1), scale)
        yield _guarantee(page, hidden, wish)
    whole = corpus.essays
    for row in page.means.to_dict("records"):
        inside = (
            np.full(len(whole), True)
            if row["group"] == "all"
            else (whole[f"groups.{row['attribute']}"].astype(str) == row["group"])
        )
        target = true[inside].mean()
        narrower = (row["high"] - row["low"]) / (row["alone_high"] - row["alone_low"])
        case = "all" if row["group"] == "all" else "groups"
        yield _row("mean", case, 0.95, row["low"], row["high"], target, size=narrower)
    if forecast and page.curve is not None:
        later = page.forecast.iloc[1]
        twice = report.make(drawn(corpus, draw, share=2 * SHARE), corpus.features, settings._replace(draws=0))
        qwk = _qwk(twice, true[twice.essays.blank], TEACHER)
        yield _row("forecast", "twice the scores", 0.95, later["low"], later["high"], qwk, size=abs(later["qwk"] - qwk))


def _agreement(page: report.Report, hidden: np.ndarray) -> Iterator[dict[str, Any]]:
    rows = page.agreement.set_index("system")
    for name in (TEACHER, STUDENT):
        yield _row("QWK", name, 0.95, rows["low"][name], rows["high"][name], _qwk(page, hidden, name))
    pair = page.differences[(page.differences["system"] == STUDENT) & (page.differences["baseline"] == TEACHER)].iloc[0]
    apart = _qwk(page, hidden, STUDENT) - _qwk(page, hidden, TEACHER)
    yield _row("difference in QWK", "student - teacher", 0.95, pair["low"], pair["high"], apart)


def _groups(page: report.Report, corpus: Corpus, hidden: np.ndarray) -> Iterator[dict[str, Any]]:
    rest = corpus.essays.iloc[page.essays.blank].assign(score=hidden, value=_value(page, page.settings.by))
    how = {"groups": page.essays.groups, "scale": corpus.scale, "seed": 1, "resamples": 100}
    true = fairness.smd_by_group(rest, **how).set_index(["attribute", "group"])["smd"]
    for row in page.groups.to_dict("records"):
        key = (row["attribute"], row["group"])
        if row["n"] >= page.settings.min_group and key in true.index and row["verdict"] != "not a group":
            case = "all" if row["attribute"] == "all" else "groups"
            yield _row("SMD", case, 0.95, row["smd_low"], row["smd_high"], true[key])


def _single(page: report.Report, hidden: np.ndarray) -> Iterator[dict[str, Any]]:
    """The share of removed scores inside the intervals of their essays; kept is that share, to be averaged over draws."""
    for confidence in (0.8, 0.9):
        width = page.own.width(confidence)
        low, high = conformal.interval(page.own.line.apply(page.blank_guess[page.settings.by]), width, page.essays.scale)
        held = float(np.mean((hidden >= low - 1e-9) & (hidden <= high + 1e-9)))
        yield {
            "promise": "interval of an essay",
            "case": f"{confidence:.0%}",
            "stated": confidence,
            "kept": held,
            "value": held,
            "size": 2 * width,
        }


def _guarantee(page: report.Report, hidden: np.ndarray, wish: promises.Wish) -> dict[str, Any]:
    own, by, scale = page.own, page.settings.by, page.essays.scale
    found = promises.guarantee(own, page.cross.guess[by], wish, sure=page.settings.sure, seed=page.settings.seed)
    level = scale.nearest(_value(page, by))
    taken = own.doubt(page.blank_guess[by], level, wish.risk) <= found.made.threshold
    loss = selective.RISKS[wish.risk](scale.level(hidden) - level)
    kept = None if not found.made.share or not taken.any() else bool(loss[taken].mean() <= wish.target + 1e-12)
    value = float(loss[taken].mean()) if kept is not None else np.nan
    return {
        "promise": "guarantee",
        "case": wish.words,
        "stated": page.settings.sure,
        "kept": kept,
        "value": value,
        "size": float(taken.mean()),
    }


def slips(corpus: Corpus, draw: int, *, folds: int = machines.FOLDS) -> dict[str, Any]:
    """Suspects among planted slips: hits, listed and planted are counted, precision and recall follow from their sums."""
    some, rng, scale = drawn(corpus, draw), np.random.default_rng([draw, 1]), corpus.scale
    scored, frame = some.scored, some.frame.copy()
    changed = rng.choice(scored, max(1, round(SLIPS * len(scored))), replace=False)
    for place in changed:
        far = scale.scores[np.abs(scale.scores - frame["score"].iloc[place]) >= (scale.high - scale.low) / 3]
        frame.iloc[place, frame.columns.get_loc("score")] = rng.choice(far)
    slipped = tables.Essays(frame, scale, corpus.name)
    cross = machines.cross_fit(slipped, corpus.features, folds=folds, seed=draw, show="Slips")
    judged = {name: promises.Judged.of(name, cross, slipped) for name in (TEACHER, STUDENT)}
    listed = scored[promises.suspects(judged, cross)["place"].to_numpy(dtype=int)]
    hits = len(np.intersect1d(listed, changed))
    return {"hits": hits, "listed": len(listed), "planted": len(changed)}


def _value(page: report.Report, name: str) -> np.ndarray:
    return page.cross.final[name].match.apply(page.blank_guess[name])


def _qwk(page: report.Report, hidden: np.ndarray, name: str) -> float:
    scale = page.essays.scale
    return metrics.qwk(scale.level(hidden), scale.nearest(_value(page, name)), levels=scale.size)


def _row(
    promise: str, case: str, stated: float, low: float, high: float, true: float, size: float | None = None
) -> dict[str, Any]:
    kept = None if np.isnan([low, high, true]).any() else bool(low - 1e-9 <= true <= high + 1e-9)
    width = high - low if size is None else size
    return {"promise": promise, "case": case, "stated": stated, "kept": kept, "value": true, "size": width}


# ---------------------------------------------------------------- the guarantee without any model

PEOPLE, MACHINE, SPREAD = 0.5, 0.6, 1.1  # noise of people and machine in SDs of quality; levels to one SD of quality
NORMAL = Scale(1, 6)
NO_MODEL = "no-model"
KINDS = {"adjacent": selective.FAR_OFF, "exact": "not exact", "error": "absolute error"}
AIMS = {"just out of reach": (0.5, 0.98), "within reach": (1.0, 1.3)}  # times the risk of this share, of the surest essays
ESSAYS = (100, 300)  # scored


@cache
def population() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of a machine on a fine grid, the weight of each, and the probability of each human level at it: quality is standard
    normal, and people and machine see it with normal noise."""
    z, share = np.linspace(-5, 5, 401), 1 / (1 + MACHINE**2)
    mean, spread = z * np.sqrt(share), np.sqrt(1 - share + PEOPLE**2)
    edges = np.r_[-np.inf, NORMAL.scores[:-1] + 0.5, np.inf]
    people = np.diff(stats.norm.cdf((edges - 3.5 - SPREAD * mean[:, None]) / (SPREAD * spread)), axis=1)
    weights = stats.norm.pdf(z)
    return 3.5 + SPREAD * z / np.sqrt(share), weights / weights.sum(), people


def true_loss(risk: str, match: MeanSdMatch) -> np.ndarray:
    """Expected loss of the level that the machine gives at each value of the population."""
    values, _, people = population()
    return (people * selective.RISKS[risk](np.arange(NORMAL.size) - NORMAL.nearest(match.apply(values))[:, None])).sum(axis=1)


@cache
def aim(kind: str, name: str) -> promises.Wish:
    """A promise that is false for every half of the essays, or true of all."""
    values, weights, people = population()
    score = people @ NORMAL.scores
    human_sd = np.sqrt(weights @ (people @ NORMAL.scores**2) - (weights @ score) ** 2)
    match = MeanSdMatch(3.5, 3.5, float(human_sd / np.sqrt(weights @ (values - 3.5) ** 2)))
    share, times = AIMS[name]
    loss = true_loss(KINDS[kind], match)
    order = np.argsort(loss)
    surest = order[np.cumsum(weights[order]) <= share + 1e-9]
    target = round(times * float(np.average(loss[surest], weights=weights[surest])), 3)
    return promises.Wish.of(kind, target if kind == "error" else 1 - target, NORMAL)


def without_model(draw: int) -> Iterator[dict[str, Any]]:
    """Rows of `COLUMNS` without corpus and draw: the guarantee from scored essays of the population, against its true risk."""
    values, weights, _ = population()
    for n in ESSAYS:
        rng = np.random.default_rng([draw, n])
        quality = rng.normal(size=n)
        people, machine = (3.5 + SPREAD * (quality + noise * rng.normal(size=n)) for noise in (PEOPLE, MACHINE))
        score = NORMAL.score(NORMAL.nearest(people))
        match, line = (fit(target=score, values=machine) for fit in (MeanSdMatch.fit, conformal.LeastSquares.fit))
        judged = promises.Judged(TEACHER, score, NORMAL.nearest(match.apply(machine)), line, NORMAL)
        for kind, name in itertools.product(KINDS, AIMS):
            wish = aim(kind, name)
            made = promises.guarantee(judged, machine, wish, sure=0.95, seed=draw).made
            taken = weights * (judged.doubt(values, NORMAL.nearest(match.apply(values)), wish.risk) <= made.threshold)
            share, loss = taken.sum(), float(taken @ true_loss(wish.risk, match) / taken.sum()) if taken.any() else np.nan
            kept = None if np.isnan(loss) else loss <= wish.target
            case = f"{wish.words}: {name}, {n} scored"
            yield {"promise": "guarantee", "case": case, "stated": 0.95, "kept": kept, "value": loss, "size": share}


# ---------------------------------------------------------------- the table


def kept_as_share(rows: pd.DataFrame) -> pd.DataFrame:
    """`kept` as a number, also where a file has it as a word."""
    words = rows["kept"].astype(object).map({"True": 1.0, "False": 0.0, True: 1.0, False: 0.0})
    return rows.assign(kept=words.astype(float).fillna(pd.to_numeric(rows["kept"].astype(object), errors="coerce")))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a corpus, promise and case: stated, kept (share of draws and groups, with its standard error over draws), promised
    (share of draws in which anything was promised), value and size (means). `holds`: kept is not below what is stated by more
    than two standard errors; with few draws that refutes little."""
    found = []
    for key, part in rows.groupby(["corpus", "promise", "case", "stated"], sort=False):
        made = part.dropna(subset=["kept"])
        known = part.fillna({"kept": 1.0}) if key[1] == "guarantee" and len(made) else made  # what is not promised is not broken
        by_draw = known.groupby("draw")["kept"].mean()
        kept, error = by_draw.mean(), by_draw.std(ddof=1) / np.sqrt(max(1, len(by_draw)))
        row = dict(zip(("corpus", "promise", "case", "stated"), key, strict=True)) | {"draws": part["draw"].nunique()}
        row |= {"promised": len(made) / len(part), "kept": kept, "error": error, "size": part["size"].mean()}
        found.append(row | {"holds": bool(kept + 2 * max(error, 1e-9) >= key[3]) if len(made) else None})
    return pd.DataFrame(found)


def slip_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall of suspects, from the sums over draws: corpus, draws, planted, listed, precision, recall."""
    sums = rows.groupby("corpus", sort=False).agg(
        draws=("draw", "size"), planted=("planted", "sum"), listed=("listed", "sum"), hits=("hits", "sum")
    )
    sums = sums.assign(precision=sums["hits"] / sums["listed"], recall=sums["hits"] / sums["planted"])
    return sums.drop(columns="hits").reset_index()


def write(folder: Path, settings: dict[str, Any]) -> str:
    """promises.md and promises.json from the files of all corpora."""
    tables = [file for file in sorted(folder.glob("*.csv")) if not file.name.endswith((SLIPS_OF, SUMMARY, KEPT))]
    table = pd.concat(
        [summary(kept_as_share(pd.read_csv(file))) for file in tables]
        + [pd.read_csv(file) for file in sorted(folder.glob(f"*{SUMMARY}"))],
        ignore_index=True,
    )
    artefacts.write(folder / KEPT, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    shown = table.assign(
        stated=table["stated"].map("{:.0%}".format),
        promised=table["promised"].map("{:.0%}".format),
        kept=[f"{row.kept:.1%} ± {row.error:.1%}" if row.kept == row.kept else "" for row in table.itertuples()],
        holds=table["holds"].map({True: "not refuted", False: "too low"}).fillna("nothing promised"),
    ).drop(columns="error")
    text = (
        "What the page of `cyborg label` promises from a random tenth of the scores, against the removed scores. kept: share of "
        "the draws (and groups) in which it was true, ± standard error over draws; promised: share of draws in which anything "
        "was promised (of a guarantee, kept counts the draws in which nothing was: 95 % is how often nothing false is promised). "
        "_no_teacher: no language model has read the essays, `teacher` is the ridge regression on words and statistics. "
        "no-model: scores of people and machine drawn from normal distributions, the truth by integration. size: width of the "
        "interval; of a guarantee the share of essays left to the machine; of a mean the "
        "interval's width over that of the human scores alone; of a forecast its error.\n\n"
        f"{shown.to_markdown(index=False, floatfmt='.3g')}\n"
    )
    if files := sorted(folder.glob(f"*{SLIPS_OF}")):
        planted = slip_summary(pd.concat(map(pd.read_csv, files), ignore_index=True)).to_markdown(index=False, floatfmt=".3g")
        told = f"Suspects among planted slips ({SLIPS:.0%} of the scores left, each at least a third of the scale away)"
        text += f"\n{told}:\n\n{planted}\n"
    artefacts.write(folder / "promises.md", text)
    provenance.write_json(folder / "promises.json", provenance.record(settings, measured={"rows": len(table)}))
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+", help="simulated-1, simulated-2, ..., a study, or no-model")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--forecasts", type=int, default=10, help="draws of which the learning curve is checked")
    parser.add_argument("--folds", type=int, default=machines.FOLDS)
    parser.add_argument("--size", type=int, default=1000, help="simulated essays")
    parser.add_argument(
        "--teacher",
        default=plans.LARGE,
        help="whose states, or none: the Student's encoder alone; for ELLIPSE those of benchmarks/frozen.py are used again",
    )
    parser.add_argument("--folder", type=Path, default=paths.results("promises"))
    options = parser.parse_args()
    teacher = states.Reading(options.teacher, (), 448, rubric=True) if options.teacher != "none" else None
    for name in options.corpora:
        if name == NO_MODEL:
            found = [{"corpus": name, "draw": draw} | row for draw in range(1, options.draws + 1) for row in without_model(draw)]
            text = summary(kept_as_share(pd.DataFrame(found))).to_csv(index=False, float_format="%.6g", lineterminator="\n")
            artefacts.write(options.folder / f"{name}{SUMMARY}", text)
            continue
        corpus = load(name, size=options.size, teacher=teacher)
        name = corpus.name
        files = [options.folder / f"{name}.csv", options.folder / f"{name}{SLIPS_OF}"]
        rows, planted = (pd.read_csv(file) if file.is_file() else pd.DataFrame() for file in files)
        done = set(planted["draw"]) if len(planted) else set()
        for draw in tqdm([draw for draw in range(1, options.draws + 1) if draw not in done], desc=name, unit="draw"):
            made = check(corpus, draw, forecast=draw <= options.forecasts, folds=options.folds)
            found = pd.DataFrame(made).assign(corpus=name, draw=draw)[COLUMNS]
            kept = rows[rows["draw"] != draw] if len(rows) else rows  # of a draw that was stopped half way
            rows = pd.concat([kept, found], ignore_index=True)
            hits = {"corpus": name, "draw": draw} | slips(corpus, draw, folds=options.folds)
            planted = pd.concat([planted, pd.DataFrame([hits])], ignore_index=True)
            for file, table in zip(files, (rows, planted), strict=True):
                artefacts.write(file, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    print(write(options.folder, vars(options) | {"share": SHARE, "slips": SLIPS}))


if __name__ == "__main__":
    main()
