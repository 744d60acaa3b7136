"""Bias mitigation: corrections of a Student's scores, fitted on the development essays alone and judged on the test essays.

Frames are those of `scores.raters` (`dev`, `test`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

from cyborg_utils.core import config, paths
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.models import cyborg_data, mean_penalty, student
from cyborg_utils.plots.style import label
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import METHODS, ByGroup, GroupShifts, shared_sd
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.stats.fairness import SIGNS, change_by_group, group_masks, verdict
from cyborg_utils.study import arms, bias, scores
from cyborg_utils.study.bias_in_words import EFFECT

PENALISED = ("penalty", "penalty by group")  # Students trained with a penalty on their mean error
BASE = "mean and SD"  # what the studies use everywhere; the others are compared with it


def corrected(dev: pd.DataFrame, test: pd.DataFrame, *, scale: Scale, groups: Sequence[str], min_group: int) -> pd.DataFrame:
    """Every correction of one Student: the rows of `test`, seed by seed, once a method, with the corrected value and level.

    Further columns: method, and `needs`: what must be known about a writer whenever an essay is scored ("nothing", an attribute
    or "all groups").
    """
    found = []
    for seed, rows in test.groupby("seed"):
        given = _given(arms.pick(dev, seed=seed), rows, scale=scale, groups=groups, min_group=min_group)
        for (name, needs), value in given.items():
            found.append(rows.assign(method=name, needs=needs, value=value, level=scale.nearest(value)))
    return pd.concat(found, ignore_index=True)


def _given(
    fit: pd.DataFrame, rows: pd.DataFrame, *, scale: Scale, groups: Sequence[str], min_group: int
) -> dict[tuple[str, str], np.ndarray]:
    """Corrected values of one seed's test essays, `rows`, by (method, needs), fitted on its development essays `fit`."""
    given, target, values = {}, fit["score"].to_numpy(), fit["value"].to_numpy()
    for name, method in METHODS.items():
        given[name, "nothing"] = method(target, values, scale).apply(rows["value"])
    for column in groups:
        by = ByGroup.fit(target, values, scale, group=fit[column], method=BASE, min_group=min_group)
        attribute = column.removeprefix("groups.")
        given[f"{BASE} by {attribute}", attribute] = by.apply(rows["value"], rows[column])
    if groups:
        shifts = GroupShifts.fit(target, values, scale, groups=fit[list(groups)])
        given[f"{BASE}, shifts of all groups", "all groups"] = shifts.apply(rows["value"], rows[list(groups)])
    return given


def fitting_noise(
    dev: pd.DataFrame, test: pd.DataFrame, *, scale: Scale, groups: Sequence[str], min_group: int, seed: int, draws: int = 200
) -> pd.DataFrame:
    """How much each group's mean corrected score hangs on which development essays the corrections were fitted on.

    Columns: method, needs, attribute, group, noise (SD in points), essays (of the development split). These essays are drawn with
    replacement, the same for all seeds, and every correction is fitted anew (`calibration.shared_sd`). With 200 draws an SD is
    known within 5 %. Empty with one seed: its verdicts are on that trained model, corrected as it is.
    """
    columns = ["method", "needs", "attribute", "group", "noise", "essays"]
    if test["seed"].nunique() < 2:
        return pd.DataFrame(columns=columns)
    rng, ids, found = np.random.default_rng(seed), dev["essay_id"].unique(), {}
    both = [(arms.pick(dev, seed=one).set_index("essay_id"), rows.sort_values("essay_id")) for one, rows in test.groupby("seed")]
    essays, how = both[0][1], {"scale": scale, "groups": groups, "min_group": min_group}
    places = [("all", "all", np.full(len(essays), True))]
    places += [(name, group, mask) for name, masks in group_masks(essays, groups) for group, mask in masks.items()]
    shares = np.array([mask / mask.sum() for *_, mask in places]).T
    for _ in range(draws):
        drawn = rng.choice(ids, len(ids))
        by_seed = [_given(fit.loc[drawn], rows, **how) for fit, rows in both]
        for key in by_seed[0]:
            found.setdefault(key, []).append(np.array([given[key] for given in by_seed]) @ shares)
    rows = []
    for key, means in found.items():
        noise = shared_sd(np.array(means), len(ids))
        rows += [(*key, *place[:2], sd, len(ids)) for place, sd in zip(places, noise, strict=True)]
    return pd.DataFrame(rows, columns=columns)


def train_penalised(
    profile: str,
    seeds: Sequence[int],
    *,
    labels: str,
    weight: float,
    groups: Sequence[str],
    by_group: bool,
    fraction: float,
    min_fit: int,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Scores of Students trained with a penalty on their mean error (`mean_penalty`), and the seconds that each took.

    Columns: essay_id, split ("dev" or "test"), score, seed, method, value. One Student a seed, and one more with the mean of
    every group in the penalty where `by_group` is set and there are groups. They stand in
    `build/<profile>/further_students`: finished
    ones are not trained again, interrupted ones resume.
    """
    rows, seconds, study = [], {}, config.load(profile)
    essays = corpora.frame(corpora.load(profile), text=True) if seeds else pd.DataFrame()
    head = arms.matched_head(study)
    head = "frozen-then-tuned" if head == "frozen" else head  # a penalty needs training
    settings = student.Settings.of(study.section("train_student"), model=study.headline[0], head=head)
    for seed in sorted(set(seeds)):
        run = config.Run(fraction, seed)
        synthetic = None if labels == "full" else scores.read(profile, "teacher", run)
        sets = cyborg_data.training_sets(essays, study.scale, labels, synthetic)
        for kind, of in zip(PENALISED, ([], groups if by_group else None), strict=True):
            if kind == PENALISED[1] and not of:
                continue
            dev, judged_on = essays.query("split == 'dev'"), essays[essays["split"].isin(["dev", "test"])]
            limit = mean_penalty.MeanConstraint.on(dev, weight=weight, groups=of, min_group=min_fit)
            folder = paths.build(profile, "further_students", run.name, f"{kind.replace(' ', '-')}-{labels}")
            pupil, curve = student.train(sets, study.scale, settings, seed=seed, folder=folder, constraint=limit)
            value = pupil.predict(judged_on["text"])[0]
            rows.append(judged_on[["essay_id", "split", "score"]].assign(seed=seed, method=kind, value=value))
            seconds[f"{run.name}, {kind}"] = float(curve["seconds"].sum())
    columns = ["essay_id", "split", "score", "seed", "method", "value"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns), seconds


def with_penalised(
    fitted: pd.DataFrame, penalised: pd.DataFrame, dev: pd.DataFrame, test: pd.DataFrame, *, scale: Scale, min_fit: int
) -> pd.DataFrame:
    """`corrected` of the study's Student, and below it that of penalised ones: as they come, and matched in mean and SD."""
    tables = [fitted]
    for kind, part in penalised.drop(columns=["score", "split"]).groupby("method"):
        on_dev, on_test = (rows.drop(columns="value").merge(part, on=["essay_id", "seed"]) for rows in (dev, test))
        both = corrected(on_dev, on_test, scale=scale, groups=[], min_group=min_fit)
        names = {"uncorrected": kind, BASE: f"{kind}, then {BASE}"}
        tables.append(both[both["method"].isin(names)].assign(method=lambda rows, names=names: rows["method"].map(names)))
    return pd.concat(tables, ignore_index=True)


def smd_on_dev(penalised: pd.DataFrame) -> dict[str, float]:
    """SMD of the development essays, which a penalised Student has read, by method: the mean over its seeds."""
    by_seed = penalised.query("split == 'dev'").groupby(["method", "seed"])
    smd = by_seed.apply(lambda rows: metrics.smd(rows["score"], rows["value"]), include_groups=False)
    return smd.groupby(level="method").mean().to_dict() if len(smd) else {}


def judged(
    rows: pd.DataFrame,
    *,
    groups: Sequence[str],
    scale: Scale,
    seed: int,
    limit: float,
    confidence: float,
    noise: pd.DataFrame | None = None,
    **options: object,
) -> pd.DataFrame:
    """SMD of every method by group: `bias.smd_of_runs`, after method, needs and seeds.

    With several seeds and `noise` (`fitting_noise`), intervals and verdicts hold for other development essays to fit on, too.
    """
    how = {"scale": scale, "seed": seed, "limit": limit, "confidence": confidence}

    def of_method(part: pd.DataFrame) -> pd.DataFrame:
        table, seeds = bias.smd_of_runs(part, "value", groups=groups, **how, **options), part["seed"].nunique()
        known = pd.DataFrame() if noise is None else arms.pick(noise, **part[["method", "needs"]].iloc[0].to_dict())
        if len(known) and seeds > 1:
            sd = table[["attribute", "group"]].merge(known, on=["attribute", "group"], how="left")["noise"]
            table = bias.with_noise(table, sd, essays=known["essays"].iloc[0], confidence=confidence)
        table.insert(0, "seeds", seeds)
        return table

    return arms.of_each(rows, ["method", "needs"], of_method)


def trade_off(
    rows: pd.DataFrame, by_group: pd.DataFrame, *, aim: float, resamples: int, confidence: float, seed: int
) -> pd.DataFrame:
    """One row a method: agreement, what it costs against `BASE` on the same seeds, and the bias left in `by_group` (`judged`).

    Columns: method, needs, seeds, qwk, low, high, interval_of, change, change_low, change_high (QWK - that of `BASE`), smd (all
    essays), smd_low, smd_high, worst (largest |SMD| of a group that is judged), worst_group, worst_low, worst_high (the interval
    of that group's SMD), worst_chance, worst_chance_high (median and `confidence` quantile of `worst` if no group had a bias,
    `largest_by_chance`), biased, not_biased, undecided (groups by verdict), within_aim, beyond_aim, undecided_aim (the same with
    `aim` as the limit: groups whose whole interval lies within +-`aim`, beyond it, and all others), worst_before (|SMD| of
    worst_group without a correction, on the same seeds), worst_change, worst_change_low, worst_change_high (worst - worst_before,
    paired over the group's essays), effect (`fairness.change_by_group`). The group is picked as the worst afterwards, so this
    change leans upwards.
    """
    human = arms.human(rows)
    parts = dict(list(rows.groupby(["method", "needs"], sort=False)))
    levels = {key: arms.by_seed(part, "level") for key, part in parts.items()}
    base, table, options = levels[BASE, "nothing"], [], {"resamples": resamples, "confidence": confidence, "seed": seed}
    for (method, needs), runs in levels.items():
        alone = across_seeds(human, runs, **options)
        change = across_seeds(human, *arms.shared(runs, base), **options)
        mine = arms.pick(by_group, method=method, needs=needs)
        whole = mine[mine["attribute"] == "all"].iloc[0]
        row = {"method": method, "needs": needs, "seeds": len(runs), "qwk": alone["mean"]}
        row |= {name: alone[name] for name in ("low", "high", "interval_of")} | {"change": change["mean"]}
        row |= {"change_low": change["low"], "change_high": change["high"]}
        row |= {name: whole[name] for name in ("smd", "smd_low", "smd_high")}
        groups = mine[(mine["attribute"] != "all") & mine["verdict"].isin(VERDICTS)]
        row |= _left(groups, aim=aim, confidence=confidence)
        after, before = parts[method, needs], parts["uncorrected", "nothing"]
        table.append(row | _done_to(row["worst_group"], after, before[before["seed"].isin(after["seed"])], **options))
    return pd.DataFrame(table)


def _done_to(group: str, after: pd.DataFrame, before: pd.DataFrame, **options: object) -> dict[str, object]:
    """What a correction did to the group that is worst after it (`attribute: group`), paired over its essays."""
    attribute, _, name = group.partition(": ")
    both = arms.averaged(after, "value").assign(before=arms.averaged(before, "value")["value"].to_numpy())
    how = {"groups": [f"groups.{attribute}"] if group else [], "before": "before", "after": "value", "min_group": 1}
    rows = arms.pick(change_by_group(both, **how, **options), attribute=attribute, group=name)
    found = rows.assign(smd_before=rows["smd_before"].abs()).to_dict("records") or [{"effect": ""}]
    names = {"smd_before": "worst_before", "effect": "effect"}
    names |= {name: f"worst_{name}" for name in ("change", "change_low", "change_high")}
    return {column: found[0].get(name, float("nan")) for name, column in names.items()}


VERDICTS = tuple(SIGNS)
BY_AIM = {"within_aim": "not biased", "beyond_aim": "biased", "undecided_aim": "undecided"}  # columns, as verdicts


def _left(groups: pd.DataFrame, *, aim: float, confidence: float) -> dict[str, object]:
    """What a method leaves in the groups that are judged (rows of `judged`): the columns of `trade_off` from `worst` on."""
    known, nothing = groups.dropna(subset=["smd"]), float("nan")
    found = {"worst": nothing, "worst_group": "", "worst_low": nothing, "worst_high": nothing}
    if len(known):
        worst = known.loc[known["smd"].abs().idxmax()]
        found = {"worst": abs(worst["smd"]), "worst_group": f"{worst['attribute']}: {worst['group']}"}
        found |= {"worst_low": worst["smd_low"], "worst_high": worst["smd_high"]}
    for column, share in (("worst_chance", 0.5), ("worst_chance_high", confidence)):
        found[column] = largest_by_chance(known["smd_se"], known["n"], share)
    by_limit = groups["verdict"].tolist()
    by_aim = [verdict(row.smd, row.smd_low, row.smd_high, limit=aim) for row in groups.itertuples()]
    found |= {column: by_limit.count(name) for column, name in bias.COUNTS.items()}
    return found | {column: by_aim.count(name) for column, name in BY_AIM.items()}


def largest_by_chance(errors: ArrayLike, sizes: ArrayLike, share: float) -> float:
    """The `share` quantile of the largest |SMD| of groups none of which is biased.

    From the standard errors of their SMDs (bootstrap) and their numbers of essays n: SMD / (error sqrt(n / (n - 1))) is taken as
    t with n - 1 degrees of freedom, as in `bootstrap.percentile_interval`, and independent of the other groups', so that
    P(largest <= x) is a product. (Groups of different attributes share essays, which makes the truth a little smaller.) Groups
    with an error of 0 or NaN are left out; NaN where no other is there.
    """
    errors, sizes = np.asarray(errors, dtype=float), np.asarray(sizes, dtype=float)
    errors, sizes = errors[errors > 0], sizes[errors > 0]
    if not len(errors):
        return float("nan")
    spread = errors * np.sqrt(sizes / (sizes - 1))

    def beyond(size: float) -> float:
        return float((1 - 2 * stats.t.sf(size / spread, sizes - 1)).prod() - share)

    return float(brentq(beyond, 0, 1000 * spread.max()))


# ---------------------------------------------------------------- sentences


def scope(dev: pd.DataFrame, test: pd.DataFrame, *, model: str, labels: str) -> str:
    """The Student, its labels and seeds, and how many essays the corrections are fitted on and judged by."""
    seeds = sorted(test["seed"].unique())
    paid = f"{test['n_human'].iloc[0]:,} human scores (U, {test['fraction'].iloc[0]:.0%}, and the development split)"
    one = f" One seed: every verdict is on that trained model; a claim about the method {bias.ONE_SEED}."
    return (
        f"Student **{label(model)}** (regression) on `{labels}` labels, {paid}, seeds {', '.join(map(str, seeds))}; "
        f"{dev['essay_id'].nunique()} development essays to fit on, {test['essay_id'].nunique()} test essays to judge by."
        f"{one if len(seeds) == 1 else ''}"
    )


def small_groups(
    dev: pd.DataFrame, test: pd.DataFrame, *, groups: Sequence[str], min_group: int, min_fit: int, elsewhere: Mapping[str, int]
) -> str:
    """Groups too small to be judged, and groups too small for a correction of their own.

    `elsewhere` maps a notebook's number to the smallest group that it judges.
    """
    others = ", ".join(f"notebook {number}: {least}" for number, least in elsewhere.items())
    unjudged = groups_below(min_group, test, among=test, groups=groups)
    shared = groups_below(min_fit, dev, among=pd.concat([dev, test]), groups=groups)
    return (
        f"Groups with fewer than {min_group} test essays ({others}), so never judged: {unjudged}. Groups with fewer than "
        f"{min_fit} development essays, so that they get everybody's correction instead of their own: {shared}."
    )


def compared(table: pd.DataFrame) -> str:
    """QWK and SMD without a correction and matched, and which corrections do better or worse than matching beyond chance."""
    by = table.set_index("method")
    base, raw = by.loc[BASE], by.loc["uncorrected"]
    beyond = (table["change_low"] > 0, table["change_high"] < 0)
    better, worse = (", ".join(table.loc[rows, "method"]) or "none" for rows in beyond)
    return (
        f"Without a correction QWK {raw['qwk']:.3f} [{raw['low']:.3f}, {raw['high']:.3f}] and SMD {raw['smd']:+.2f}; matched in "
        f"mean and SD {base['qwk']:.3f} [{base['low']:.3f}, {base['high']:.3f}] and {base['smd']:+.2f}. Better than that in "
        f"QWK beyond chance: **{better}**; worse: {worse}."
    )


def worst_groups(table: pd.DataFrame) -> str:
    """What `BASE` did to the group that is worst after it, and how many corrections make theirs worse or better."""
    known = table[table["worst_change"].notna() & (table["method"] != "uncorrected")]
    if known.empty:
        return "No group is large enough to be judged."
    row, named = known[known["method"] == BASE].iloc[0], {}
    ends = f"[{row['worst_change_low']:+.2f}, {row['worst_change_high']:+.2f}]: {EFFECT[row['effect']]}"
    for effect in ("worse", "better"):
        named[effect] = ", ".join(known.loc[known["effect"] == effect, "method"]) or "none"
    return (
        "What corrections do to the group that is worst after them (|SMD|, paired over its essays; leaning upwards, since the "
        f"group is picked afterwards): {BASE} takes {row['worst_group']} from {row['worst_before']:.2f} to {row['worst']:.2f}, "
        f"change {row['worst_change']:+.2f} {ends}. Of {len(known)} corrections these leave their worst group worse off beyond "
        f"chance: {named['worse']}; better: {named['better']}."
    )


def within_aim(table: pd.DataFrame, *, aim: float, confidence: float) -> str:
    """How many groups lie within the aim, beyond it, or cannot be told, a line a correction; then `aim_reached`."""
    lines = [
        f"- {row.method}: {row.within_aim} within, {row.beyond_aim} beyond, {row.undecided_aim} undecided; largest |SMD| "
        f"{row.worst:.2f}, by chance alone {row.worst_chance:.2f} ({confidence:.0%} of the time at most "
        f"{row.worst_chance_high:.2f})"
        for row in table[table["worst"].notna()].itertuples()
    ]
    text = f"The paper's aim is an SMD within ±{aim:g} in **every** group."
    text += " Groups by where their *whole* interval lies:\n\n" + "\n".join(lines) + "\n\n" if lines else " "
    reached = aim_reached(table, aim=aim)
    return f"{text}{reached[0].upper()}{reached[1:]}."


def lessons(table: pd.DataFrame, *, on_dev: Mapping[str, float], confidence: float) -> list[str]:
    """What the corrections taught: agreement, knowing the group, the penalty. `on_dev` is `smd_on_dev`."""
    by = table.set_index("method")
    base, raw, mean_only = by.loc[BASE], by.loc["uncorrected"], by.loc["mean"]
    free = table[(table["needs"] == "nothing") & ~table["method"].str.startswith("penalty")]
    better = ", ".join(free.loc[free["change_low"] > 0, "method"]) or "no correction"
    lines = [
        f"**Agreement**: the mean alone takes QWK from {raw['qwk']:.3f} to {mean_only['qwk']:.3f}, mean and SD to "
        f"{base['qwk']:.3f}. Better than that beyond chance, without knowing anything about writers: {better}."
    ]
    if knowing := knowing_groups(table, confidence=confidence):
        lines.append(f"**Knowing the group**: {knowing}")
    for kind in [name for name in PENALISED if name in by.index]:
        row, then = by.loc[kind], by.loc[f"{kind}, then {BASE}"]
        lines.append(
            f"**{kind.capitalize()}** ({row['seeds']} seed{'' if row['seeds'] == 1 else 's'}): SMD {row['smd']:+.2f} "
            f"[{row['smd_low']:+.2f}, {row['smd_high']:+.2f}], QWK {row['qwk']:.3f} (SMD of the development essays, which it "
            f"has read, {on_dev[kind]:+.2f}); matched afterwards {then['smd']:+.2f} and {then['qwk']:.3f}."
        )
    return lines


def finding(table: pd.DataFrame, *, aim: float, confidence: float) -> str:
    """What matching mean and spread does to agreement and bias, in one sentence."""
    by = table.set_index("method")
    base, raw = by.loc[BASE], by.loc["uncorrected"]
    effect = "changes agreement by no more than chance explains"
    effect = "gives agreement back" if raw["change_high"] < 0 else "costs agreement" if raw["change_low"] > 0 else effect
    text = (
        f"Matching mean and spread {effect} (QWK {base['qwk']:.3f} [{base['low']:.3f}, {base['high']:.3f}]; as it comes "
        f"{raw['qwk']:.3f} [{raw['low']:.3f}, {raw['high']:.3f}]) and takes the SMD of all essays from {raw['smd']:+.2f} to "
        f"{base['smd']:+.2f} [{base['smd_low']:+.2f}, {base['smd_high']:+.2f}]"
    )
    if pd.notna(base["worst"]):
        text += f"; the largest |SMD| of a judged group is then {against_chance(base, confidence=confidence)}"
        if pd.notna(base["worst_change"]):
            ends = f"[{base['worst_change_low']:+.2f}, {base['worst_change_high']:+.2f}]"
            text += f"; that group stood at {base['worst_before']:.2f} before (paired change {base['worst_change']:+.2f} {ends})"
    return f"{text}; {aim_reached(table, aim=aim)}."


def groups_below(least: int, part: pd.DataFrame, *, among: pd.DataFrame, groups: Sequence[str]) -> str:
    """In words: the groups of writers in `among` with fewer than `least` essays in `part`, and how many these are; or "none"."""
    essays, found = part.drop_duplicates("essay_id"), []
    for column in groups:
        sizes = essays[column].value_counts().reindex(sorted(among[column].dropna().unique(), key=str), fill_value=0)
        found += [f"{column.removeprefix('groups.')} {name} ({size})" for name, size in sizes.items() if size < least]
    return ", ".join(found) or "none"


def against_chance(row: pd.Series, *, confidence: float) -> str:
    """In words: the largest |SMD| that a method leaves (a row of `trade_off`), and what chance alone would bring."""
    more = "more" if row["worst"] > row["worst_chance_high"] else "no more"
    digits = 2 if f"{row['worst']:.2f}" != f"{row['worst_chance_high']:.2f}" else 3  # "0.40, more than 0.40" would puzzle
    return (
        f"{row['worst']:.{digits}f} ({row['worst_group']}), {more} than chance alone brings where no group is biased (median "
        f"{row['worst_chance']:.2f}, {confidence:.0%} of the time at most {row['worst_chance_high']:.{digits}f})"
    )


def aim_reached(table: pd.DataFrame, *, aim: float) -> str:
    """In words: for which methods of `trade_off` the intervals show that *every* judged group is within +-`aim`.

    Point estimates do not count: the largest of several noisy |SMD|s is beyond a small aim even where no group is biased.
    """
    judged = table[table["worst"].notna()]
    if judged.empty:
        return "no group is large enough to be judged"
    sure = judged.loc[judged["within_aim"] == judged[list(BY_AIM)].sum(axis=1), "method"]
    if len(sure):
        verb = "brings" if len(sure) == 1 else "bring"
        names = ", ".join(f"*{name}*" for name in sure)
        return f"these essays show that {names}, as fitted here, {verb} every judged group within ±{aim:g}"
    more = int((judged["worst"] > judged["worst_chance_high"]).sum())
    return (
        f"these essays cannot show for any correction that every judged group is within ±{aim:g}; {more or 'none'} of "
        f"{len(judged)} {'leaves' if more <= 1 else 'leave'} more in some group than chance alone brings"
    )


def knowing_groups(table: pd.DataFrame, *, confidence: float) -> str:
    """In words: whether corrections that know the group take off a bias of `BASE` beyond chance; "" where none knows it."""
    own = table[(table["needs"] != "nothing") & table["worst"].notna()]
    if own.empty:
        return ""
    base = table[(table["method"] == BASE) & (table["needs"] == "nothing")].iloc[0]
    more, reach = int((own["worst"] > own["worst_chance_high"]).sum()), f"{own['worst'].min():.2f} to {own['worst'].max():.2f}"
    words = f"{BASE} for everybody leaves at most {against_chance(base, confidence=confidence)}"
    if base["worst"] <= base["worst_chance_high"]:
        words += ", so these essays cannot show that knowing the group takes anything off"
    many = f"{more or 'none'} of them more than chance alone brings"
    return f"{words}. The {len(own)} corrections that use the group leave {reach}; {many}."
