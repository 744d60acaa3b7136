"""Students on essays from elsewhere: another corpus with its own scale, prompts that were held out, the recipe study by study.

`judged` is always the frame of `judged_essays`; `options` are resamples, confidence and seed of `comparisons.across_seeds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora, table
from cyborg_utils.models import cyborg_data, student
from cyborg_utils.stats.calibration import match_on_dev
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.stats.metrics import pearson_r
from cyborg_utils.study import arms, artefacts, scores

RECIPE = ["study", "fraction", "n_human", "labels", "seeds", "gap", "gap_low", "gap_high", "gap_closed", "low", "high"]
RECIPE += ["resolved"]

# ---------------------------------------------------------------- essays and scales


def onto(values: ArrayLike, source: Scale, target: Scale) -> np.ndarray:
    """Scores of one scale on another: lowest to lowest, highest to highest, linear between. Needs no score of the target."""
    span = (target.scores[-1] - target.low) / (source.scores[-1] - source.low)
    return target.low + span * (np.asarray(values, dtype=float) - source.low)


def shared_texts(essays: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """True where an essay is among the others too (case, space and punctuation ignored), (n,) bool."""
    known = {hash(table.normalised(text)) for text in others}
    return np.array([hash(table.normalised(text)) in known for text in essays], dtype=bool)


def held_out(prompts: pd.Series, share: float, *, seed: int) -> list[str]:
    """Prompts, drawn at random, that together have at least `share` of the essays; at least one prompt stays.

    Raises CyborgError where the essays have fewer than two prompts.
    """
    counts = prompts.value_counts().sort_index()
    if len(counts) < 2:
        raise CyborgError(
            f"transfer_corpora.held_out: the corpus has {len(counts)} prompt(s), and two are needed to hold one out."
        )
    drawn = counts.iloc[np.random.default_rng(seed).permutation(len(counts))]
    enough = int(np.searchsorted(drawn.cumsum().to_numpy(), share * len(prompts.dropna()))) + 1
    return sorted(drawn.index[: min(enough, len(counts) - 1)])


def judged_essays(essays: pd.DataFrame) -> pd.DataFrame:
    """Development and test essays of `corpora.frame(text=True)`, with `part` and `human_level` in place of split and level."""
    return essays[essays["split"].isin(["dev", "test"])].rename(columns={"split": "part", "level": "human_level"})


def headline_student(study: config.Study) -> tuple[str, str]:
    """(model, head) of the study's Student in this notebook: the first head with real-valued scores, where the study has one.

    Only real-valued scores can be matched, and with two heads in one comparison their effects could not be separated.
    """
    model, head = study.headline
    return model, next((name for name in study.section("train_student")["heads"] if name in arms.MATCHED), head)


def own_students(raters: pd.DataFrame, study: config.Study) -> pd.DataFrame:
    """This study's own Student in `scores.raters`, at the headline fraction and on all human scores, matched on dev."""
    model, head = headline_student(study)
    own = arms.pick(raters, student=model, head=head)
    own = own[own["fraction"].isin([arms.headline_fraction(own), 1.0])]
    return own.assign(value=own["matched_value"], level=own["matched_level"])


# ---------------------------------------------------------------- Students of other corpora


class Elsewhere(NamedTuple):
    """Students of other studies on these essays, by name (`demo u100_s1, full`)."""

    readings: dict[str, pd.DataFrame]  # as `readings` gives them
    dropped: dict[str, int]  # essays of this study that are in the other corpus too
    absent: dict[str, str]  # why a Student was not run here


def from_elsewhere(profile: str, sources: Iterable[Mapping[str, str]], judged: pd.DataFrame, *, few: int, seed: int) -> Elsewhere:
    """Score this study's essays with saved Students of other studies; `sources` name profile, run and labels of each.

    Essays that are in the other corpus too are dropped: the Student may have memorised them.
    """
    found, scale = Elsewhere({}, {}, {}), config.load(profile).scale
    for source in sources:
        name = f"{source['profile']} {source['run']}, {source['labels']}"
        try:
            other = config.load(source["profile"])
            model, head = headline_student(other)
            kind = f"{model.replace('/', '--')}-{head}-{source['labels']}"
            folder = paths.build(source["profile"], "students", source["run"], kind)
            if not (folder / "student.json").is_file():
                raise CyborgError(f"no Student in {paths.shown(folder)}; run the study {source['profile']} on this machine")
            theirs = corpora.frame(corpora.load(source["profile"]), text=True)["text"] if source["profile"] != profile else []
            shared = shared_texts(judged["text"], theirs)
            if shared.all():
                raise CyborgError("every essay of this study is in that corpus too")
        except CyborgError as error:
            found.absent[name] = str(error).splitlines()[0]
            continue
        kept, found.dropped[name] = judged[~shared], int(shared.sum())
        values = kept[["essay_id", "part", "score"]].assign(value=student.load(folder).predict(kept["text"])[0])
        found.readings[name] = readings(values, other.scale, scale, few=few, seed=seed)
    return found


def readings(frame: pd.DataFrame, source: Scale, target: Scale, *, few: int, seed: int) -> pd.DataFrame:
    """A Student's `value` (on its own scale) of a target corpus, on that corpus's scale, by how many of its scores are used.

    `frame`: essay_id, part ("dev" or "test"), score, value. Returns, for the test essays: reading ("as it is", "matched on 30",
    "matched on 271" ...), used (human scores of the target), value, level. The few are drawn from the development essays.
    """
    dev, test = frame[frame["part"] == "dev"], frame[frame["part"] == "test"]
    rows = [test.assign(reading="as it is", used=0, value=onto(test["value"], source, target))]
    for size in dict.fromkeys([min(few, len(dev)), len(dev)]):
        if size > 1:
            match = match_on_dev(dev.iloc[np.random.default_rng(seed).permutation(len(dev))[:size]])
            rows.append(test.assign(reading=f"matched on {size}", used=size, value=match.apply(test["value"])))
    every = pd.concat(rows, ignore_index=True)
    return every.assign(level=target.nearest(every["value"]))


def agreement_on(human: pd.DataFrame, runs: Mapping[int, pd.DataFrame], **options: Any) -> dict[str, object]:
    """QWK with interval (`comparisons.across_seeds`) and mean r of a scorer's runs: seed -> rows with essay_id, value, level.

    `human`: essay_id, score, human_level of the same essays.
    """
    essays = human.sort_values("essay_id")
    ordered = {seed: rows.sort_values("essay_id") for seed, rows in runs.items()}
    levels = {seed: rows["level"].to_numpy() for seed, rows in ordered.items()}
    pooled = across_seeds(essays["human_level"].to_numpy(), levels, **options)
    r = float(np.mean([pearson_r(essays["score"], rows["value"]) for rows in ordered.values()]))
    return {"seeds": len(runs), "n": len(essays), "qwk": pooled["mean"], "low": pooled["low"], "high": pooled["high"], "r": r}


def transfer_table(elsewhere: Elsewhere, own: pd.DataFrame, judged: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Students from elsewhere beside this study's own: student, reading, used, seeds, n, qwk, low, high, r.

    `used` counts the human scores of this corpus that were paid for: those that a Student from elsewhere is matched on, or those
    that an own one learned from and is matched on (n_human).
    """
    human, rows = judged[judged["part"] == "test"], []
    for name, found in elsewhere.readings.items():
        for (reading, used), part in found.groupby(["reading", "used"], sort=False):
            same = human[human["essay_id"].isin(part["essay_id"])]
            rows.append({"student": name, "reading": reading, "used": used} | agreement_on(same, {1: part}, **options))
    for (head, labels, n_human), part in own.groupby(["head", "labels", "n_human"], sort=False):
        row = {"student": f"own, {labels}", "reading": "matched" if head in arms.MATCHED else "as it is", "used": n_human}
        rows.append(row | agreement_on(human, dict(iter(part.groupby("seed"))), **options))
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- held-out prompts


class Unseen(NamedTuple):
    """A Student that never saw some prompts, on the test essays of just these."""

    run: str
    labels: str
    seed: int
    prompts: list[str]
    scores: pd.DataFrame  # essay_id, score, human_level, value, level
    seconds: float  # of training


def train_without(profile: str, essays: pd.DataFrame, prompts: list[str], *, labels: str, fraction: float, seed: int) -> Unseen:
    """Train a Student as notebook 04 does, without any essay of these prompts, and score their test essays with it.

    Its head is that of `headline_student`, so that it can be compared with this study's own Student. Taken up where it stopped.
    """
    study = config.load(profile)
    model, head = headline_student(study)
    run = config.Run(1.0 if labels == "full" else fraction, seed)
    teacher = None if labels == "full" else scores.read(profile, "teacher", run)
    sets = cyborg_data.training_sets(essays[~essays["prompt"].isin(prompts)], study.scale, labels, teacher)
    settings = student.Settings.of(study.section("train_student"), model=model, head=head)
    folder = paths.build(profile, "further_students", run.name, f"held-out-{len(prompts)}-prompts-{labels}")
    pupil, curve = student.train(sets, study.scale, settings, seed=seed, folder=folder)
    judged = judged_essays(essays)
    strange = judged["prompt"].isin(prompts)
    dev, test = judged[(judged["part"] == "dev") & ~strange], judged[(judged["part"] == "test") & strange]
    match = match_on_dev(dev.assign(value=pupil.predict(dev["text"])[0]), head=head)
    value = match.apply(pupil.predict(test["text"])[0])
    rows = test[["essay_id", "score", "human_level"]].assign(value=value, level=study.scale.nearest(value))
    return Unseen(run.name, labels, seed, prompts, rows, float(curve["seconds"].sum()))


def prompts_table(trained: Iterable[Unseen], own: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """QWK on prompts that a Student never saw, and the paired change from this study's own Student, which knew them.

    Columns: labels, seed, prompts (their number), n, qwk, low, high, qwk_seen, change, change_low, change_high.
    """
    rows = []
    for never in trained:
        knew = arms.pick(own, labels=never.labels, seed=never.seed)
        knew = knew[knew["essay_id"].isin(never.scores["essay_id"])]
        ours, theirs = {never.seed: never.scores}, {never.seed: knew}
        unseen, seen = (agreement_on(never.scores, runs, **options) for runs in (ours, theirs))
        row = {"labels": never.labels, "seed": never.seed, "prompts": len(never.prompts)}
        row |= {name: unseen[name] for name in ("n", "qwk", "low", "high")} | {"qwk_seen": seen["qwk"]}
        rows.append(row | against(never.scores, ours, theirs, **options))
    return pd.DataFrame(rows)


def against(human: pd.DataFrame, ours: Mapping[int, pd.DataFrame], theirs: Mapping[int, pd.DataFrame], **options: Any) -> dict:
    """Paired difference in QWK on the same essays and seeds: change, change_low, change_high."""
    essays, both = human.sort_values("essay_id"), arms.shared(ours, theirs)
    levels = [arms.by_seed(pd.concat([rows.assign(seed=seed) for seed, rows in runs.items()]), "level") for runs in both]
    pooled = across_seeds(essays["human_level"].to_numpy(), *levels, **options)
    return {"change": pooled["mean"], "change_low": pooled["low"], "change_high": pooled["high"]}


# ---------------------------------------------------------------- the recipe


def recipe_table(profiles: Iterable[str]) -> pd.DataFrame:
    """The gap that synthetic scores close in every study with results here, for its headline Student; columns `RECIPE`.

    n_human: human scores of U and of the development essays.
    """
    rows = []
    for name in sorted(set(profiles)):
        file = paths.results(name, "tables", "table_gap_closed.csv")
        if file.is_file():
            model, head = config.load(name).headline
            size = artefacts.read_table(name, "table_corpus").set_index("split")["essays"]
            own = arms.pick(pd.read_csv(file), student=model, head=head)
            paid = (own["fraction"] * size["train"]).round().astype(int) + size["dev"]
            rows.append(own.assign(study=name, n_human=paid)[RECIPE])
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=RECIPE)


def headline_gap(gaps: pd.DataFrame) -> pd.DataFrame:
    """The one row of `agreement.gaps`, of one study, Student and head, that is chosen without looking at its result; or none.

    Labels `cyborg`, the paper's; the fraction as in `arms.headline_fraction`: most seeds, then nearest to 10 %. The largest share
    over all arms would be chosen on the test essays, and so be too high.
    """
    own = gaps[gaps["labels"] == "cyborg"].assign(apart=lambda rows: (rows["fraction"] - 0.10).abs())
    return own.sort_values(["seeds", "apart"], ascending=[False, True]).head(1).drop(columns="apart")


# ---------------------------------------------------------------- sentences


def sources_used(elsewhere: Elsewhere) -> str:
    """Which Students from elsewhere were run, and which not and why."""
    dropped = "essays of this study are in that corpus too and are dropped"
    lines = [f"- {name}: {count} {dropped}" for name, count in elsewhere.dropped.items()]
    lines += [f"- {name}: **not run here** ({reason})" for name, reason in elsewhere.absent.items()]
    return "\n".join(lines) or "This study asks for no Student from elsewhere."


def learned(table_transfer: pd.DataFrame, table_prompts: pd.DataFrame, table_recipe: pd.DataFrame) -> str:
    """A numbered list: each Student from elsewhere, this study's own on few scores, unseen prompts, the recipe by study."""
    lines = []
    for name, rows in _elsewhere(table_transfer).groupby("student", sort=False):
        first, last = rows[rows["reading"] == "as it is"].iloc[0], rows.iloc[-1]
        reached = f"{last['qwk']:.3f} [{last['low']:.3f}, {last['high']:.3f}] {last['reading']}"
        lines.append(f"**{name}**: r = {last['r']:.2f} here; QWK {first['qwk']:.3f} as it is and {reached}.")
    for row in table_transfer[table_transfer["student"] == "own, human"].itertuples():
        reached = f"QWK {row.qwk:.3f} [{row.low:.3f}, {row.high:.3f}]"
        lines.append(f"**This study's own Student with {row.used:,} human scores**: {reached}.")
    for row in table_prompts.itertuples():
        lines.append(
            f"**Unseen prompts** ({row.labels}, seed {row.seed}, {row.prompts} prompts, {row.n} essays): QWK {row.qwk:.3f} "
            f"against {row.qwk_seen:.3f} of the Student that knew them, {_change(row)}."
        )
    for row in _headline_gaps(table_recipe):
        gap = f"the gap is {row.gap:+.3f} [{row.gap_low:+.3f}, {row.gap_high:+.3f}], not beyond chance"
        closed = f"{_share(row)} of the gap is closed" if row.resolved else gap
        lines.append(f"**The recipe on {row.study}** ({row.labels}, {row.n_human:,} human scores): {closed}.")
    return "\n".join(f"{place}. {line}" for place, line in enumerate(lines, 1)) or "Nothing was run here."


def finding(table_transfer: pd.DataFrame, table_prompts: pd.DataFrame, table_recipe: pd.DataFrame) -> str:
    """The notebook in one sentence."""
    parts, others = [], _elsewhere(table_transfer)
    if len(others):
        top = others.sort_values("qwk").iloc[-1]
        parts.append(
            f"Students from elsewhere reach a QWK of at most {top['qwk']:.3f} [{top['low']:.3f}, {top['high']:.3f}] here "
            f"({top['student']}, {top['reading']}: the best of {len(others)} rows on these test essays)"
        )
    for row in table_prompts.head(1).itertuples():
        parts.append(
            f"on {row.n} essays of prompts that it never saw, a Student on {row.labels} labels (seed {row.seed}) differs "
            f"in QWK by {_change(row)} from one that knew them"
        )
    gaps = [row for row in _headline_gaps(table_recipe) if row.resolved]
    if closed := [f"{_share(row)} on {row.study} ({row.labels}, {row.n_human:,} human scores)" for row in gaps]:
        parts.append(f"the recipe closes this share of the gap between few and all human scores: {', '.join(closed)}")
    text = "; ".join(parts) + "." if parts else "Nothing was run here."
    return text[0].upper() + text[1:]


def _elsewhere(table_transfer: pd.DataFrame) -> pd.DataFrame:
    return table_transfer[~table_transfer["student"].astype(str).str.startswith("own, ")]


def _headline_gaps(table_recipe: pd.DataFrame) -> list[Any]:
    return [row for _, part in table_recipe.groupby("study") for row in headline_gap(part).itertuples()]


def _share(row: Any) -> str:
    return f"{row.gap_closed:.0%} [{row.low:.0%}, {row.high:.0%}]"


def _change(row: Any) -> str:
    return f"{row.change:+.3f} [{row.change_low:+.3f}, {row.change_high:+.3f}]"
