"""The experiment of Cyborg Data over many draws of U: Teacher and Student are ridge regressions on frozen states (16).

A forward pass over the corpus serves all draws, shares, splits and traits, and a fit takes less than a second. So chance can be
seen instead of estimated: how much of a result was the luck of the draw.

Only U has human scores. The study's development essays are set aside as essays that nobody has scored: every machine's mean and
SD are matched to those of U by its scores of these essays (`MeanSdMatch.unpaired`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm.auto import tqdm

from cyborg_utils.core import atomic, config, paths, provenance
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.models import cyborg_data, frozen_teacher, recipes, states, student, teacher, trials
from cyborg_utils.models.frozen import Frozen
from cyborg_utils.models.prompt import Prompt, rubric
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import MeanSdMatch
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.study import arms, bias

BLOCKS = {  # arm -> blocks of features; `cyborg` is a Student like `human`
    "ridge": ("words", "statistics"),
    "human": ("student", "length"),
    "teacher": ("teacher", "statistics"),
    "length": ("count",),  # of all words; what the Student sees as length ends at its token limit
}
RIVALS = ("human", "ridge", "teacher")  # what the same human scores buy without synthetic ones; "average" is of their guesses
HUMAN_ONLY = ("human", "ridge", "best")  # baselines of the gain; "best" is the rival, or the average, that leave-one-out prefers
COMPONENTS = 300  # of the words


@dataclass(frozen=True)
class Corpus:
    """Essays (frame with split, scores, text), and their blocks of features by name, (n, d) each."""

    essays: pd.DataFrame
    blocks: Mapping[str, np.ndarray]
    scale: Scale


@dataclass(frozen=True)
class Cell:
    """All draws of one share of human scores: the human levels of the test essays, and each arm's matched values (draws, n)."""

    split: int
    trait: str
    fraction: float
    n_human: int
    human: np.ndarray
    values: Mapping[str, np.ndarray]

    def levels(self, arm: str, scale: Scale) -> dict[int, np.ndarray]:
        return dict(enumerate(scale.nearest(self.values[arm]), 1))


def read(profile: str) -> Corpus:
    """The study's essays with all features. States come from the store; words and statistics are counted anew, without scores."""
    study = config.load(profile)
    data, essays = study.section("prepare_data"), corpora.frame(corpora.load(profile), text=True)
    template = Prompt(rubric(data["corpus"], data["score"], data.get("options")), study.scale)
    reads = teacher.Settings.of(study.section("finetune_teacher"))
    found = frozen_teacher.features(essays, reads, template)
    pupil = student.untrained(learner(study, "frozen"), study.scale)
    reading = states.Reading(pupil.settings.model, pupil.network.layers, pupil.max_tokens)
    means = np.asarray(states.of_essays(essays, reading, show="The encoder's states"), dtype=np.float32)
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=3, max_features=20000).fit_transform(essays["text"])
    size = min(COMPONENTS, words.shape[1] - 1, len(essays) - 1)
    blocks = {"teacher": found["states"], "statistics": found["statistics"], "student": means.mean(axis=1)}
    blocks |= {"length": np.log([[len(row)] for row in pupil.encode(essays["text"])[0]]), "count": found["statistics"][:, :1]}
    blocks |= {"words": TruncatedSVD(size, random_state=0).fit_transform(words).astype(np.float32)}
    return Corpus(essays, blocks, study.scale)


def learner(study: config.Study, head: str) -> student.Settings:
    return student.Settings.of(study.section("train_student"), model=study.headline[0], head=head)


# ---------------------------------------------------------------- the draws


def split(corpus: Corpus, number: int, seed: int) -> dict[str, np.ndarray]:
    """Places of the essays of each split: number 0 is the study's own, others are drawn with the same sizes."""
    own = corpus.essays["split"].to_numpy()
    named = own if number == 0 else np.random.default_rng([seed, number]).permutation(own)
    return {name: np.flatnonzero(named == name) for name in ("train", "dev", "test")}


def _aside(places: Mapping[str, np.ndarray]) -> np.ndarray:
    """Essays on which means and SDs are matched, and whose human scores are not looked at."""
    return places["dev"] if len(places["dev"]) else places["test"]


def one_draw(
    corpus: Corpus, places: Mapping[str, np.ndarray], score: np.ndarray, size: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Matched values of the test essays by every arm, from `size` human scores drawn from X; all of X gives `full` only."""
    drawn = rng.permutation(places["train"])
    u, pool, aside = drawn[:size], drawn[size:], _aside(places)

    def fitted(arm: str, learnt: np.ndarray, target: np.ndarray) -> Frozen:
        return Frozen.fit({name: corpus.blocks[name][learnt] for name in BLOCKS[arm]}, target, corpus.scale)

    def of(scorer: Frozen, arm: str, essays: np.ndarray) -> np.ndarray:
        return scorer.guess({name: corpus.blocks[name][essays] for name in BLOCKS[arm]})

    def guesses(scorer: Frozen, arm: str) -> tuple[np.ndarray, ...]:
        """Of U (each essay left out), of the essays set aside, and of the test essays."""
        return scorer.left_out, of(scorer, arm, aside), of(scorer, arm, places["test"])

    scorers = {arm: fitted(arm, u, score[u]) for arm in BLOCKS}
    found = {arm: guesses(scorer, arm) for arm, scorer in scorers.items()}
    found["average"] = tuple(np.mean(parts, axis=0) for parts in zip(*(found[arm] for arm in RIVALS), strict=True))
    found["best"] = min((found[arm] for arm in (*RIVALS, "average")), key=lambda parts: np.square(parts[0] - score[u]).mean())
    if len(pool):
        labels = np.concatenate([score[u], of(scorers["teacher"], "teacher", pool)])
        found["cyborg"] = guesses(fitted("human", np.concatenate([u, pool]), labels), "human")
    return {arm: MeanSdMatch.unpaired(target=score[u], values=beside).apply(test) for arm, (_, beside, test) in found.items()}


def grid(
    profile: str, corpus: Corpus, fractions: Sequence[float], draws: int, *, splits: int = 1, trait: str = "", seed: int
) -> list[Cell]:
    """All cells of one score (of `trait`, or the study's own); a share of 1 has one draw. An interrupted call resumes."""
    column = f"traits.{trait}" if trait else "score"
    score, cells = corpus.essays[column].to_numpy(), []
    wanted = list(itertools.product(range(splits), [*sorted(fractions), 1.0]))
    counts = {version: recipe.version for version, recipe in recipes.RECIPES.items() if version in ("STATES", "FROZEN")}
    for number, fraction in tqdm(wanted, desc=trait or "Draws of U", unit="cell"):
        places, several = split(corpus, number, seed), draws if fraction < 1 else 1
        size = max(5, round(fraction * len(places["train"])))
        key = {"size": size, "draws": several, "seed": seed, "blocks": BLOCKS, "rivals": RIVALS, "trait": trait} | counts
        sums = [float(block.sum()) for block in corpus.blocks.values()]
        data = [*(part.tolist() for part in places.values()), score.tolist(), sums]
        file = paths.build(profile, "draws", f"{provenance.fingerprint(key, data=data)[:20]}.npz")
        if not file.is_file():
            found = [one_draw(corpus, places, score, size, np.random.default_rng([seed, draw])) for draw in range(1, several + 1)]
            with atomic.file(file) as temporary, temporary.open("wb") as sink:
                np.savez(sink, **{arm: np.stack([values[arm] for values in found]) for arm in found[0]})
        with np.load(file, allow_pickle=False) as saved:
            values = {arm: saved[arm] for arm in saved.files}
        values = values if fraction < 1 else {"full" if arm == "human" else arm: value for arm, value in values.items()}
        cells.append(Cell(number, trait, fraction, size, corpus.scale.level(score[places["test"]]), values))
    return cells


# ---------------------------------------------------------------- tables


def agreement(cells: Sequence[Cell], scale: Scale) -> pd.DataFrame:
    """One row a draw and arm: split, trait, fraction, n_human, draw, arm, qwk, r, smd."""
    rows = []
    for cell in cells:
        place = {"split": cell.split, "trait": cell.trait, "fraction": cell.fraction, "n_human": cell.n_human}
        for arm, values in cell.values.items():
            for draw, value in enumerate(values, 1):
                level, human = scale.nearest(value), scale.score(cell.human)
                found = {"qwk": metrics.qwk(cell.human, level, levels=scale.size), "r": metrics.pearson_r(human, value)}
                rows.append(place | {"draw": draw, "arm": arm} | found | {"smd": metrics.smd(human, value)})
    return pd.DataFrame(rows)


def summary(single: pd.DataFrame) -> pd.DataFrame:
    """Over draws (and splits): fraction, n_human, arm, draws, qwk (mean), qwk_sd, low, high (5 % and 95 % of the draws), r, smd,
    smd_sd."""
    rows = []
    for (fraction, n, arm), part in single.groupby(["fraction", "n_human", "arm"], sort=False):
        low, high = part["qwk"].quantile([0.05, 0.95])
        row = {"fraction": fraction, "n_human": n, "arm": arm, "draws": len(part), "qwk": part["qwk"].mean()}
        row |= {"qwk_sd": part["qwk"].std(), "low": low, "high": high, "r": part["r"].mean()}
        rows.append(row | {"smd": part["smd"].mean(), "smd_sd": part["smd"].std()})
    return pd.DataFrame(rows)


def gains(cells: Sequence[Cell], scale: Scale, **options: Any) -> pd.DataFrame:
    """What synthetic labels bring, against each arm that has the same human scores and no Teacher, on the study's own split.

    Columns: fraction, n_human, baseline, draws, gain (mean over draws), low, high (`across_seeds`: other draws and other test
    essays), gain_low, gain_high (5 % and 95 % of the draws), positive (share of the draws with a gain), gap_closed (mean gain as
    a share of the mean gap to `full`), luck (share of the variance of one draw's gain that is the draw's, not the test essays').
    """
    own = [cell for cell in cells if cell.split == 0]
    (full,) = [cell for cell in own if cell.fraction == 1]
    best = metrics.qwk(full.human, scale.nearest(full.values["full"][0]), levels=scale.size)
    rows = []
    for cell in [cell for cell in own if cell.fraction < 1]:
        for name in HUMAN_ONLY:
            runs, base = cell.levels("cyborg", scale), cell.levels(name, scale)
            step = across_seeds(cell.human, runs, base, **options)
            each = np.array([_qwk(cell, runs[draw], scale) - _qwk(cell, base[draw], scale) for draw in runs])
            gap = best - np.mean([_qwk(cell, level, scale) for level in base.values()])
            row = {"fraction": cell.fraction, "n_human": cell.n_human, "baseline": name, "draws": len(each), "gain": each.mean()}
            row |= {"low": step["low"], "high": step["high"], "gain_low": np.quantile(each, 0.05)}
            row |= {"gain_high": np.quantile(each, 0.95), "positive": (each > 0).mean()}
            variance = np.square([step["seed_sd"], step["test_sd"]])
            luck = variance[0] / variance.sum() if variance.sum() > 0 else np.nan
            row |= {"gap_closed": each.mean() / gap if gap > 0 else np.nan, "luck": luck}
            rows.append(row)
    return pd.DataFrame(rows)


def single_gains(single: pd.DataFrame) -> pd.DataFrame:
    """One row a draw and baseline (`agreement`): split, fraction, n_human, draw, baseline, gain."""
    place = ["split", "fraction", "n_human", "draw"]
    wide = single[single["fraction"] < 1].pivot(index=place, columns="arm", values="qwk").reset_index()
    return pd.concat([wide[place].assign(baseline=name, gain=wide["cyborg"] - wide[name]) for name in HUMAN_ONLY])


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `summary` for `forest_plots.qwk_by_fraction`: shares below 1, and the arm `full`; no average."""
    return table[((table["fraction"] < 1) | (table["arm"] == "full")) & (table["arm"] != "average")]


def choices(cells: Sequence[Cell]) -> str:
    """How often leave-one-out on U preferred which of the rivals, by number of human scores, on the study's own split."""
    lines, asked = [], (*RIVALS, "average")
    for cell in [cell for cell in cells if cell.split == 0 and cell.fraction < 1]:
        same = {arm: (cell.values[arm] == cell.values["best"]).all(axis=1) for arm in asked}  # draw by draw
        chosen = [next(arm for arm in asked if same[arm][draw]) for draw in range(len(cell.values["best"]))]
        told = ", ".join(f"`{arm}` {chosen.count(arm)}" for arm in asked if arm in chosen)
        lines.append(f"{cell.n_human:,} human scores: {told}")
    return f"`best` is, as leave-one-out on U says without a test essay, in so many draws: {'; '.join(lines)}."


def by_trait(several: Sequence[Sequence[Cell]], scale: Scale, **options: Any) -> pd.DataFrame:
    """One row a trait: mean QWK of each arm, and `gains` against the Student on human scores alone."""
    rows = []
    for cells in several:
        table = summary(agreement(cells, scale)).query("fraction < 1 or arm == 'full'").set_index("arm")["qwk"]
        table = table[[name for name in ("ridge", "human", "teacher", "cyborg", "full") if name in table]]
        (gain,) = gains(cells, scale, **options).query("baseline == 'human'").drop(columns="baseline").to_dict("records")
        rows.append({"trait": cells[0].trait} | {f"qwk_{arm}": table[arm] for arm in table.index} | gain)
    return pd.DataFrame(rows)


def _qwk(cell: Cell, level: np.ndarray, scale: Scale) -> float:
    return metrics.qwk(cell.human, level, levels=scale.size)


def worth(table: pd.DataFrame) -> pd.DataFrame:
    """How many human scores without a Teacher agree as well as Cyborg Data does on average (`summary`), by fraction.

    Between measured numbers the mean QWK is interpolated over their logarithm. Columns: fraction, n_human, qwk, human, ridge (the
    numbers; infinite where all of X are not enough).
    """
    rows = []
    for row in table[table["arm"] == "cyborg"].itertuples():
        found = {"fraction": row.fraction, "n_human": row.n_human, "qwk": row.qwk}
        for name, top in {"human": "full", "ridge": "ridge"}.items():
            curve = table[(table["arm"] == name) | ((table["arm"] == top) & (table["fraction"] == 1))].sort_values("n_human")
            rising = np.maximum.accumulate(curve["qwk"])
            n = np.exp(np.interp(row.qwk, rising, np.log(curve["n_human"])))
            found[name] = n if row.qwk <= rising.iloc[-1] else np.inf
        rows.append(found)
    return pd.DataFrame(rows)


def raters(corpus: Corpus, cells: Sequence[Cell], fraction: float) -> pd.DataFrame:
    """The draws of one share on the study's own test essays, in the form of `scores.raters`, a draw in place of a seed."""
    test = corpus.essays[corpus.essays["split"] == "test"].drop(columns=["text", "split"])
    test, rows = test.rename(columns={"level": "human_level"}), []
    for cell in [cell for cell in cells if cell.split == 0 and cell.fraction in (fraction, 1.0)]:
        for arm in [name for name in cell.values if name in ("human", "teacher", "cyborg", "full")]:
            if arm == "teacher" and cell.fraction == 1:
                continue
            for draw, value in enumerate(cell.values[arm], 1):
                who = {"fraction": cell.fraction, "student": "teacher" if arm == "teacher" else "student", "head": "frozen"}
                who |= {"labels": arm, "seed": draw, "value": value, "matched_value": value}
                rows.append(test.assign(**who, n_human=cell.n_human, n_dev=0, matched_level=corpus.scale.nearest(value)))
    return pd.concat(rows, ignore_index=True).assign(level=lambda rows: rows["matched_level"])


# ---------------------------------------------------------------- fine-tuned from the frozen Students


def tuned(profile: str, corpus: Corpus, fraction: float, draws: int, *, seed: int) -> pd.DataFrame:
    """Students that begin as the frozen ones of the first draws and are fine-tuned from there (head `frozen-then-tuned`).

    The labels are those of the frozen arms, with the Teacher's expected scores. Returns labels, draw, n_human, qwk, frozen_qwk,
    change (qwk - frozen_qwk), minutes. Only scores are kept; an interrupted call resumes.
    """
    study = config.load(profile)
    settings, score, places = learner(study, "frozen-then-tuned"), corpus.essays["score"].to_numpy(), split(corpus, 0, seed)
    aside = _aside(places)
    judged = np.concatenate([aside, places["test"]])
    sets = list(_sets(corpus, places, score, fraction, draws, seed))
    jobs = [trials.Trial([part], seed) for *_, part in sets]
    folder = paths.build(profile, "trials")
    options = {"scale": corpus.scale, "folder": folder, "texts": corpus.essays["text"].iloc[judged]}
    kinds = (learner(study, "frozen"), settings)
    both = [trials.run(jobs, settings.model, settings=one, show=f"Students, {one.head}", **options) for one in kinds]
    seconds = trials.seconds(jobs, settings.model, settings=settings, folder=folder, texts=options["texts"])
    rows, human = [], corpus.scale.level(score[places["test"]])
    for at, (labels, draw, part) in enumerate(sets):
        target = part.loc[part["source"] == "human", "value"]
        qwk = []
        for values in (one[at] for one in both):
            match = MeanSdMatch.unpaired(target=target, values=values[: len(aside)])
            qwk.append(metrics.qwk(human, corpus.scale.nearest(match.apply(values[len(aside) :])), levels=corpus.scale.size))
        row = {"labels": labels, "draw": draw, "n_human": len(target), "qwk": qwk[1], "frozen_qwk": qwk[0]}
        rows.append(row | {"change": qwk[1] - qwk[0], "minutes": seconds[at] / 60})
    return pd.DataFrame(rows)


def _sets(corpus: Corpus, places, score, fraction: float, draws: int, seed: int) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Training sets of the tuned Students (`cyborg_data.training_sets`): labels, draw, set."""
    essays = corpus.essays
    for draw in range(1, draws + 1):
        drawn = np.random.default_rng([seed, draw]).permutation(places["train"])
        size = max(5, round(fraction * len(drawn)))
        u, pool = drawn[:size], drawn[size:]
        scorer = Frozen.fit({name: corpus.blocks[name][u] for name in BLOCKS["teacher"]}, score[u], corpus.scale)
        guess = pd.Series(scorer.left_out, index=u)
        guess = pd.concat([guess, pd.Series(scorer.guess({name: corpus.blocks[name][pool] for name in BLOCKS["teacher"]}), pool)])
        given = pd.DataFrame({"essay_id": essays["essay_id"].to_numpy()[guess.index], "expected": guess.to_numpy()})
        given["part"] = np.where(np.isin(guess.index, u), "U", "pool")
        p = scorer.probabilities_of(given["expected"])
        given = given.assign(level=p.argmax(axis=1), **{f"p_{at + 1}": p[:, at] for at in range(p.shape[1])})
        for labels, kind in (("human", "human"), ("cyborg", "cyborg-soft")):
            yield labels, draw, cyborg_data.training_sets(essays, corpus.scale, kind, given)[0]
    yield "full", 1, cyborg_data.training_sets(essays, corpus.scale, "full")[0]


# ---------------------------------------------------------------- sentences


def headline(gains_table: pd.DataFrame, table: pd.DataFrame, *, fraction: float) -> str:
    """The main numbers at one share: every arm's mean QWK, the gain over draws, and what is the luck of the draw.

    `table` is the `summary` of the study's own split, as the gains are.
    """
    own = table[table["fraction"] == fraction].set_index("arm")
    step = gains_table[(gains_table["fraction"] == fraction) & (gains_table["baseline"] == "human")].iloc[0]
    full = table[(table["arm"] == "full")].iloc[0]
    return (
        f"With {step['n_human']:,} human scores in all, over {step['draws']} draws of U: a frozen Student on human scores alone "
        f"has QWK **{own.loc['human', 'qwk']:.3f}** (SD over draws {own.loc['human', 'qwk_sd']:.3f}), on Cyborg Data "
        f"**{own.loc['cyborg', 'qwk']:.3f}** ({own.loc['cyborg', 'qwk_sd']:.3f}), its Teacher {own.loc['teacher', 'qwk']:.3f} "
        f"({own.loc['teacher', 'qwk_sd']:.3f}), and with all {full['n_human']:,} human scores {full['qwk']:.3f}. The gain is "
        f"{step['gain']:+.3f} [{step['low']:+.3f}, {step['high']:+.3f}], in {step['positive']:.0%} of the draws above 0"
        + (f", {step['gap_closed']:.0%} of the gap" if np.isfinite(step["gap_closed"]) else "")
        + f". Of the variance of a single draw's gain, {step['luck']:.0%} is the luck of the draw, the rest that of the essays."
    )


def in_short(gains_table: pd.DataFrame, *, fraction: float) -> str:
    """The gain over draws at one share, and how much of a single draw's gain is luck."""
    row = arms.pick(gains_table, fraction=fraction, baseline="human").iloc[0]
    return (
        f"With {row['n_human']:,} human scores synthetic ones bring {row['gain']:+.3f} QWK "
        f"[{row['low']:+.3f}, {row['high']:+.3f}], the mean over {row['draws']} draws, and something in {row['positive']:.0%} "
        f"of them. Luck of the draw makes {row['luck']:.0%} of the variance of a single draw's gain."
    )


def crossing(table: pd.DataFrame, *, every: int) -> str:
    """What Cyborg Data is worth in human scores, by share, and where it pays no more (`worth`)."""
    lines = []
    for row in table.itertuples():
        named = {"the same Student": row.human, "ridge on words and statistics": row.ridge}
        numbers = {name: f"{n:,.0f}" if np.isfinite(n) else f"more than all {every:,}" for name, n in named.items()}
        parts = [f"{number} to {name}" for name, number in numbers.items()]
        lines.append(f"- {row.n_human:,} human scores with synthetic ones (QWK {row.qwk:.3f}) are worth {', '.join(parts)}.")
    paying = table[table["human"] > table["n_human"]]
    last = f"up to {paying['n_human'].max():,} human scores" if len(paying) else "at none of these numbers"
    return "\n".join([*lines, f"\nFor the same Student synthetic scores pay {last} here."])


def traits_in_words(table: pd.DataFrame) -> str:
    """For how many traits the mean gain over draws is above 0, and its range; `table` has one row a trait (`gains`)."""
    ends, up = table.loc[[table["gain"].idxmin(), table["gain"].idxmax()]], (table["gain"] > 0).sum()
    low, high = (f"{row.gain:+.3f} ({row.trait})" for row in ends.itertuples())
    return f"The mean gain over draws is above 0 for {up} of {len(table)} traits, from {low} to {high}."


def tuned_in_words(table: pd.DataFrame) -> str:
    """What fine-tuning from the frozen Student brings, by labels."""
    lines = []
    for labels, part in table.groupby("labels", sort=False):
        many = f"mean of {len(part)} draws" if len(part) > 1 else "one draw"
        lines.append(
            f"- {labels}, {part['n_human'].iloc[0]:,} human scores: frozen {part['frozen_qwk'].mean():.3f}, then tuned "
            f"**{part['qwk'].mean():.3f}** ({many}, {part['minutes'].mean():.1f} minutes)."
        )
    return "\n".join(lines)


def smd_table(raters: pd.DataFrame, **how: Any) -> pd.DataFrame:
    """`bias.smd_table` of the draws, with the columns that notebook 06 keeps."""
    table = bias.smd_table(raters, **how)
    return table[[name for name in bias.SMD_COLUMNS if name in table]]
