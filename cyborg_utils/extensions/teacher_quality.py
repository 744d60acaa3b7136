"""How good a Teacher is as a rater, and whether it holds back high scores: before fine-tuning, after, or only by rounding.

Frames have one row an essay, Teacher and run: teacher, share, seed, attempts, n_human, essay_id, part, score, human_level, level
(most likely), expected, p_1 .. p_K, groups.*; the share of a zero-shot Teacher is 0. n_human counts the human scores that are
paid for, those of U and of the development essays, which choose the epoch and match the expected score.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.models import teacher, teachers, weights
from cyborg_utils.models.prompt import Prompt, rubric
from cyborg_utils.models.teacher import Settings
from cyborg_utils.stats.bootstrap import percentile_interval
from cyborg_utils.stats.calibration import match_on_dev
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.stats.metrics import pearson_r, smd
from cyborg_utils.study import arms, run_tables, scores

KEYS = ["teacher", "share"]
MATCHED = "expected, matched"  # the reading that needs the development essays, even of a Teacher that was not fine-tuned
LENGTHS = ("short", "middle", "long")

# ---------------------------------------------------------------- Teachers and their scores


class Candidate(NamedTuple):
    """A Teacher that is compared."""

    settings: Settings
    template: Prompt
    attempts: int  # at fine-tuning


def candidates(
    study: config.Study, teachers: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, Candidate], dict[str, tuple[str, str]]]:
    """The Teachers that can be run on this machine, and of the others (model, reason why not), by name.

    `teachers` have a name, settings that differ from the study's own Teacher, and chat (false: the prompt as plain text).
    """
    data, there, missing = study.section("prepare_data"), {}, {}
    words = rubric(data["corpus"], data["score"], data.get("options"))
    for entry in teachers:
        section = study.section("finetune_teacher") | {key: entry[key] for key in entry if key not in ("name", "chat")}
        settings = Settings.of(section)
        if reason := absent(settings):
            missing[entry["name"]] = (settings.model, reason)
        else:
            template = Prompt(words, study.scale, chat=entry.get("chat", True))
            there[entry["name"]] = Candidate(settings, template, section["attempts"])
    return there, missing


def absent(settings: Settings) -> str:
    """Why a Teacher cannot be run on this machine, in a line; "" where it can, and then its weights are here.

    What the machine lacks is asked first, so that no weights are fetched that could not be loaded.
    """
    if settings.quantization == "nf4" and not (torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes")):
        return "quantization nf4 needs a CUDA GPU and bitsandbytes"
    try:
        weights.resolve(settings.model)
    except CyborgError as error:
        return str(error).splitlines()[0]
    return ""


def score(
    profile: str, essays: pd.DataFrame, there: Mapping[str, Candidate], *, shares: Sequence[float], seeds: Sequence[int]
) -> pd.DataFrame:
    """The scores that every Teacher gives the development and test essays, for each share and seed where it is fine-tuned.

    `essays` is the frame of `corpora.frame(text=True)`. Columns: teacher, share, seed, attempts (at fine-tuning), essay_id, part,
    level, expected, p_1 .. p_K. What is finished is not done again.
    """
    grid = [config.Run(share, seed) for share in shares for seed in seeds]
    columns = [*KEYS, "seed", "attempts", "essay_id", "part", "level", "expected"]
    columns += [f"p_{level + 1}" for level in range(config.load(profile).scale.size)]
    rows = [
        _score(profile, essays, name, candidate, run)[columns]
        for name, candidate in there.items()
        for run in (grid if candidate.settings.epochs or candidate.settings.method != "lora" else [None])
    ]
    return pd.concat(rows, ignore_index=True)


def _score(profile: str, essays: pd.DataFrame, name: str, candidate: Candidate, run: config.Run | None) -> pd.DataFrame:
    """One Teacher's scores, fine-tuned on the run's U where there is a run; the study's own Teacher is not asked again."""
    settings, template, attempts = candidate
    place = {"teacher": name, "share": run.fraction if run else 0.0, "seed": run.seed if run else 0, "attempts": 0}
    usual = template.chat and settings == Settings.of(config.load(profile).section("finetune_teacher"))
    if run and usual and scores.file(profile, f"teacher_{run.name}").is_file():
        place["attempts"] = run_tables.attempts(profile).set_index("run").loc[run.name, "attempts"]
        return scores.read(profile, "teacher", run).query("part in ['dev', 'test']").assign(**place)
    judged = essays[essays["split"].isin(["dev", "test"])].reset_index(drop=True)
    folder = paths.build(profile, "teacher", "compared", f"{name} {run.name if run else 'zero-shot'}".replace(" ", "_"))
    if run:
        human = essays[essays["essay_id"].isin(corpora.draw_human(corpora.load(profile), run.fraction, run.seed))]
        dev = judged[judged["split"] == "dev"]
        curve = teachers.fit(human, dev, template, settings, seed=run.seed, folder=folder, attempts=attempts)
        place["attempts"] = int(curve["attempt"].max())
        given = teachers.score(folder, judged, template)
    else:
        given = teacher.score(teacher.load(settings, template), judged, folder=folder / "parts", mark=f"zero-shot {settings}")
    return given.assign(part=judged["split"], **place)


def rated(given: pd.DataFrame, essays: pd.DataFrame) -> pd.DataFrame:
    """The table of `score` with the essays' columns, `words` in place of the text, n_human and `matched_value` (`matched`)."""
    known = essays.drop(columns=["split", "text"]).rename(columns={"level": "human_level"})
    known = known.assign(words=essays["text"].str.split().str.len())
    size = essays["split"].value_counts()
    given = given.assign(n_human=(given["share"] * size["train"]).round().astype(int) + size["dev"])
    return matched(given.merge(known, on="essay_id", validate="many_to_one"))


def matched(rows: pd.DataFrame) -> pd.DataFrame:
    """With `matched_value`: the expected score with people's mean and SD on the development essays, run by run."""
    parts = []
    for _, run in rows.groupby([*KEYS, "seed"], sort=False):
        match = match_on_dev(run[run["part"] == "dev"], "expected")
        parts.append(run.assign(matched_value=match.apply(run["expected"])))
    return pd.concat(parts, ignore_index=True)


# ---------------------------------------------------------------- tables


def probabilities(rows: pd.DataFrame, scale: Scale) -> np.ndarray:
    """p_1 .. p_K of the rows, (n, K)."""
    return rows[[f"p_{level + 1}" for level in range(scale.size)]].to_numpy()


def quality(rows: pd.DataFrame, scale: Scale, *, resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """Two rows a Teacher and share, its two readings: QWK with interval (`comparisons.across_seeds`) and the means over seeds.

    Columns: teacher, share, n_human (`spent`), reading ("most likely", `MATCHED`), seeds, attempts (fine-tunings, more than seeds
    where some failed and were repeated), n, qwk, low, high, interval_of, r (of the
    expected score), smd (of the reading), confidence (mean probability of the most likely level), exact (how often that level is
    right), auc (how well confidence tells right from wrong; 0.5 is chance).
    """
    human, found = arms.human(rows), []
    for key, part in rows.groupby(KEYS, sort=False):
        part = part.assign(matched_level=scale.nearest(part["matched_value"]), likely=scale.score(part["level"]))
        for reading, level, value in (("most likely", "level", "likely"), (MATCHED, "matched_level", "matched_value")):
            options = {"resamples": resamples, "confidence": confidence, "seed": seed}
            pooled = across_seeds(human, arms.by_seed(part, level), **options)
            each = [_figures(run, value, scale) for _, run in part.groupby("seed")]
            found.append(
                dict(zip(KEYS, key, strict=True))
                | {"n_human": spent(part, reading), "reading": reading, "seeds": len(each)}
                | {"attempts": int(part.drop_duplicates("seed")["attempts"].sum()), "n": len(human), "qwk": pooled["mean"]}
                | {name: pooled[name] for name in ("low", "high", "interval_of")}
                | pd.DataFrame(each).mean().to_dict()
            )
    return pd.DataFrame(found)


def spent(part: pd.DataFrame, reading: str) -> int:
    """Human scores that one Teacher's reading is paid for: none where it was neither fine-tuned nor matched."""
    row = part.iloc[0]
    return int(row["n_human"]) if row["share"] or reading == MATCHED else 0


def _figures(run: pd.DataFrame, value: str, scale: Scale) -> dict[str, float]:
    sure, right = probabilities(run, scale).max(axis=1), (run["level"] == run["human_level"]).to_numpy()
    auc = roc_auc_score(right, sure) if 0 < right.mean() < 1 else float("nan")
    figures = {"r": pearson_r(run["score"], run["expected"]), "smd": smd(run["score"], run[value])}
    return figures | {"confidence": sure.mean(), "exact": right.mean(), "auc": auc}


def top_shares(rows: pd.DataFrame, scale: Scale, *, resamples: int, confidence: float, seed: int, top: int = 2) -> pd.DataFrame:
    """Share of the `top` highest scores by reading of a Teacher, against people's on the same essays, with intervals over essays.

    Readings: "probability" (the mean probability that the Teacher gives these levels: nothing is rounded), "most likely",
    "expected" and "expected, matched" (both rounded). Where the probability is right and the most likely level is not, high
    scores are lost by rounding alone. Columns: teacher, share, n_human (`spent`), reading, seeds, n, human_top, machine_top,
    ratio, low, high.
    """
    rng, first, found = np.random.default_rng(seed), scale.size - top, []
    ids = np.sort(rows["essay_id"].unique())
    drawn = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=resamples).astype(float)
    for key, part in rows.groupby(KEYS, sort=False):
        readings = {
            "probability": probabilities(part, scale)[:, first:].sum(axis=1),
            "most likely": part["level"] >= first,
            "expected": scale.nearest(part["expected"]) >= first,
            MATCHED: scale.nearest(part["matched_value"]) >= first,
        }
        each = part.assign(human=part["human_level"] >= first, **{name: np.asarray(given) for name, given in readings.items()})
        each = each[["essay_id", "human", *readings]].astype({"human": float}).groupby("essay_id").mean().loc[ids].astype(float)
        people = drawn @ each["human"].to_numpy()
        for name in readings:
            with np.errstate(divide="ignore", invalid="ignore"):
                resampled = (drawn @ each[name].to_numpy()) / np.where(people > 0, people, np.nan)
                value = each[name].sum() / each["human"].sum() if each["human"].sum() else float("nan")
            ends = percentile_interval(value, resampled, confidence=confidence, n=len(ids))
            row = {"n_human": spent(part, name), "reading": name, "seeds": part["seed"].nunique(), "n": len(ids)}
            row |= {"human_top": each["human"].mean(), "machine_top": each[name].mean()}
            row |= dict(zip(("ratio", "low", "high"), ends, strict=True))
            found.append(dict(zip(KEYS, key, strict=True)) | row)
    return pd.DataFrame(found)


def where(rows: pd.DataFrame, slices: dict[str, pd.Series], *, min_group: int) -> pd.DataFrame:
    """Where a Teacher errs: mean error and RMSE of its matched score by slice; slices with few essays are left out.

    `slices`: name -> label of each row (score, length, prompt, a group ...), index as `rows`. Columns: teacher, share,
    n_human, slice, value, n (essays), bias (mean machine - human, points), rmse.
    """
    error, found = rows["matched_value"] - rows["score"], []
    for name, labels in slices.items():
        keys = [rows["teacher"], rows["share"], labels.rename("value")]
        for key, part in error.groupby(keys, sort=False):
            n = rows.loc[part.index, "essay_id"].nunique()
            if n >= min_group:
                paid = rows.loc[part.index[0], "n_human"]
                found.append((*key[:2], paid, name, key[2], n, part.mean(), float(np.sqrt((part**2).mean()))))
    return pd.DataFrame(found, columns=[*KEYS, "n_human", "slice", "value", "n", "bias", "rmse"])


def slices(rows: pd.DataFrame, *, min_group: int) -> dict[str, pd.Series]:
    """The slices of `where`: human score, length, prompts of at least `min_group` essays (where there are several), groups."""
    prompts = rows["prompt"].where(rows.groupby("prompt")["essay_id"].transform("nunique") >= min_group)
    thirds = pd.Series(length_thirds(rows["words"]), index=rows.index)
    labels = {"human score": rows["score"].map("{:g}".format), "length": thirds}
    labels |= {"prompt": prompts.dropna()} if prompts.nunique() > 1 else {}
    return labels | {name.removeprefix("groups."): rows[name].dropna() for name in rows if name.startswith("groups.")}


def length_thirds(words: Sequence[float]) -> np.ndarray:
    """Each essay as "short", "middle" or "long", by thirds."""
    words = np.asarray(words, dtype=float)
    low, high = np.quantile(words, [1 / 3, 2 / 3])
    return np.where(words <= low, LENGTHS[0], np.where(words <= high, LENGTHS[1], LENGTHS[2]))


def bias_by(table_where: pd.DataFrame, name: str, order: Iterable[str]) -> pd.DataFrame:
    """Mean error of each Teacher by the values of one slice, in this order."""
    wide = arms.pick(table_where, slice=name).pivot(index=["teacher", "n_human"], columns="value", values="bias")
    return wide[[value for value in order if value in wide]]


def named(table: pd.DataFrame) -> pd.DataFrame:
    """For a figure: `name` is the Teacher with its human scores ("0.5B, 451 human scores"), `arm` the reading."""
    names = [_name(*key) for key in table[[*KEYS, "n_human"]].itertuples(index=False, name=None)]
    return table.assign(name=names, arm=table["reading"])


def best(table_teachers: pd.DataFrame) -> tuple[str, float]:
    """Name and share of the Teacher with the highest QWK, read by its matched expected score, in the table of `quality`."""
    return _readings(table_teachers)[1]["qwk"].idxmax()


def _readings(table_teachers: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of "most likely" and of "expected, matched", by teacher and share."""
    likely, expected = (arms.pick(table_teachers, reading=reading) for reading in ("most likely", MATCHED))
    return likely.set_index(KEYS), expected.set_index(KEYS)


def _name(name: str, share: float, n_human: int) -> str:
    return f"{name}, {n_human:,} human scores" if share else name


# ---------------------------------------------------------------- sentences


def who_is_compared(there: Mapping[str, Candidate], missing: Mapping[str, tuple[str, str]]) -> str:
    """A table of the Teachers of `candidates`: those that are run, and those that are not, with the reason."""
    rows = [
        f"| {name} | {settings.model} | {settings.epochs} | {'chat' if template.chat else 'plain text'} | yes |"
        for name, (settings, template, _) in there.items()
    ]
    rows += [f"| {name} | {model} | | | **not run here**: {reason} |" for name, (model, reason) in missing.items()]
    return "\n".join(["| Teacher | model | epochs | prompt | run |", "|---|---|---|---|---|", *rows])


def held_back(shares: pd.DataFrame) -> str:
    """Where one Teacher's high scores are shown to be rarer than people's, in words; `shares` has its rows of `top_shares`.

    Shown means that the interval of the ratio ends below 1. An interval that holds 1 shows neither a loss nor that there is none.
    """
    high = shares.set_index("reading")["high"]
    believed, given = high["probability"], high["most likely"]
    if pd.isna(believed) or pd.isna(given):
        return "too few essays have high scores to tell"
    if believed < 1 and given < 1:
        return "high scores are rarer than people's already in its probabilities: they are held back **in the model** itself"
    if given < 1:
        return "high scores are rarer than people's in its most likely answer, not shown so in its probabilities (**rounding**)"
    if believed < 1:
        return "high scores are rarer than people's in its probabilities, not shown so in its most likely answer"
    return "high scores are not shown to be rarer than people's, neither in its probabilities nor in its most likely answer"


def where_high_scores_get_lost(table_top: pd.DataFrame) -> str:
    """A line a Teacher (`held_back`), from the table of `top_shares`, with the two ratios where they have intervals."""
    lines = []
    for key, rows in table_top.groupby(KEYS, sort=False):
        by = rows.set_index("reading")
        ratios = ", ".join(f"{reading} {_ratio(by.loc[reading])}" for reading in ("probability", "most likely"))
        known = f" ({ratios})" if by["high"].notna().all() else ""
        lines.append(f"- {_name(*key, rows['n_human'].iloc[0])}: {held_back(rows)}{known}.")
    return "\n".join(lines)


def learned(table_teachers: pd.DataFrame) -> str:
    """A numbered list from the table of `quality`: the best Teacher, before fine-tuning, readings, confidence."""
    likely, expected = _readings(table_teachers)
    lines, gain = [f"**Best Teacher here**: {_reached(table_teachers, ' (expected, matched)')}."], expected["qwk"] - likely["qwk"]
    untaught = expected[expected.index.get_level_values("share") == 0]
    if len(untaught):
        name = untaught["r"].idxmax()
        lines.append(
            f"**Before any fine-tuning** the highest r with human scores is {untaught['r'].max():.3f} ({name[0]}); "
            f"QWK {likely.loc[name, 'qwk']:.3f} by its most likely answer, {untaught.loc[name, 'qwk']:.3f} once matched on the "
            f"{untaught.loc[name, 'n_human']:,} human scores of the development essays."
        )
    lines.append(
        f"**How a Teacher is read** changes QWK by {gain.mean():+.3f} on average (from {gain.min():+.3f} to {gain.max():+.3f}), "
        "without a step of training."
    )
    low, high = likely["auc"].min(), likely["auc"].max()
    lines.append(f"**Its confidence** tells right from wrong answers with an AUC of {low:.2f} to {high:.2f}.")
    return "\n".join(f"{place}. {line}" for place, line in enumerate(lines, 1))


def finding(table_top: pd.DataFrame, table_teachers: pd.DataFrame) -> str:
    """The notebook in one sentence: the high scores of the first fine-tuned Teacher (or else the first), and the best Teacher."""
    tuned = table_top[table_top["share"] > 0] if (table_top["share"] > 0).any() else table_top
    name, share = tuned.iloc[0][KEYS]
    rows = arms.pick(tuned, teacher=name, share=share).set_index("reading")
    high = "People give too few high scores here for a comparison"
    if rows["high"].notna().all():
        high = (
            f"Share of the two highest scores, Teacher ({_name(name, share, rows['n_human'].iloc[0])}) over people: "
            f"{_ratio(rows.loc['probability'])} by its probabilities, {_ratio(rows.loc['most likely'])} by its most likely "
            f"answer, {_ratio(rows.loc[MATCHED])} by its matched expected score"
        )
    return f"{high}; the best Teacher here is {_reached(table_teachers)}."


def _reached(table_teachers: pd.DataFrame, reading: str = "") -> str:
    """The best Teacher with its QWK, and among how many it is the best."""
    key, (_, expected) = best(table_teachers), _readings(table_teachers)
    interval = "{:.3f} [{:.3f}, {:.3f}]".format(*expected.loc[key, ["qwk", "low", "high"]])
    name = _name(*key, expected.loc[key, "n_human"])
    return f"{name}, with QWK {interval}{reading}, the highest of the {len(expected)} compared on these test essays"


def _ratio(row: pd.Series) -> str:
    return f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
