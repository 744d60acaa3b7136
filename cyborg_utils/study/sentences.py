"""What a study found, in sentences: one function a question, from the tables of notebooks 00 to 06. Frames in, Markdown out.

Every number in a sentence is computed; a sentence says what the data show, also where that is not what the paper found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from cyborg_utils.core import paths
from cyborg_utils.core.config import Study
from cyborg_utils.core.scale import Scale
from cyborg_utils.data.corpora import POOL, Prepared
from cyborg_utils.plots.style import label
from cyborg_utils.stats.fairness import SIGNS
from cyborg_utils.study import arms
from cyborg_utils.study.agreement_in_words import counted_seeds, interval

RECAPS = Path(__file__).with_name("recaps.yaml")


def recap(notebook: str, found: str) -> str:
    """The three lines at a notebook's end: what was asked, what came out, what to doubt. Only `found` has numbers."""
    fixed = yaml.safe_load(RECAPS.read_text(encoding="utf-8"))[notebook]
    return f"- **Asked.** {fixed['asked']}\n- **Found.** {found}\n- **Doubt.** {fixed['doubt']}"


def cell(value: object, form: str = ".2f") -> str:
    """A table's cell: a number in this format, with a real minus; "–" where there is none; words as they are."""
    if value is None or value != value:
        return "–"
    return format(value, form).replace("-", "−") if form and not isinstance(value, str) else str(value)


def treated(by_group: pd.DataFrame, by: str) -> str:
    """How many groups of writers each machine treats differently, a line for each value of the column `by`.

    The other columns are those of `fairness.smd_by_group`.
    """
    lines = []
    for name, rows in by_group.groupby(by, sort=False):
        rows = rows[(rows["attribute"] != "all") & rows["verdict"].isin(SIGNS)]
        counts, biased = rows["verdict"].value_counts(), rows[rows["verdict"] == "biased"]
        most = ""
        if len(biased):
            worst = biased.loc[biased["smd"].abs().idxmax()]
            ends = f"[{worst['smd_low']:+.2f}, {worst['smd_high']:+.2f}]"
            most = f" (most: {worst['attribute']} = {worst['group']}, {worst['smd']:+.2f} {ends})"
        lines.append(
            f"- **{name}**: of {len(rows)} group{'' if len(rows) == 1 else 's'} {len(biased)} treated differently{most}, "
            f"{counts.get('not biased', 0)} not, {counts.get('undecided', 0)} cannot be told."
        )
    return "\n".join(lines)


# ---------------------------------------------------------------- 00 overview


def study_facts(study: Study, table_corpus: pd.DataFrame) -> str:
    """Title, note and a table of corpus, models, labels and runs."""
    data, teacher, learner = (study.section(name) for name in ("prepare_data", "finetune_teacher", "train_student"))
    sizes = table_corpus.set_index("split")["essays"]
    seeds = {share: [str(run.seed) for run in study.runs if run.fraction == share] for share in study.fractions}
    facts = {
        "Corpus": f"{data['corpus']}, {data['score']} on the scale {study.scale}",
        "Essays": f"{sizes['train']:,} training (X), {sizes['dev']:,} development, {sizes['test']:,} test (Y)",
        "Teacher": teacher["model"],
        "Students": ", ".join([*learner["models"], "ridge (words and length, no network)"]),
        "Labels": ", ".join(learner["labels"]),
        "Human scores kept": "; ".join(
            f"{share:.0%} (seed{'' if len(names) == 1 else 's'} {', '.join(names)})" for share, names in seeds.items()
        ),
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"**{study.title}**\n\n{study.note}\n\n| | |\n|---|---|\n{lines}"


def headline(table_comparisons: pd.DataFrame, *, student: str, head: str) -> str:
    """One line a fraction: the Student on human scores alone, on Cyborg Data, the fair rival (`human+dev`), and the Teacher."""
    pairs, lines = table_comparisons.query("student == @student and head == @head"), []
    for (_, *cost), part in pairs.groupby(["fraction", "n_human", "n_dev"]):
        rows = part.set_index(["system", "baseline"])
        if ("cyborg", "human") not in rows.index:
            continue
        row = rows.loc[("cyborg", "human")]
        line = f"With **{arms.paid(*cost)}**, QWK {row['qwk_baseline']:.3f} alone, {row['qwk']:.3f} on Cyborg Data: "
        line += f"{interval(row)}, {counted_seeds(row['seeds'])}"
        if ("cyborg", "human+dev") in rows.index:
            fair = rows.loc[("cyborg", "human+dev")]
            line += f". A Student that learned from the development essays too has {fair['qwk_baseline']:.3f}: {interval(fair)}"
        if ("teacher", "human") in rows.index:
            own = rows.loc[("teacher", "human")]
            line += f". The Teacher's QWK is {abs(own['difference']):.3f} {'lower' if own['difference'] < 0 else 'higher'} than "
            line += f"that of the Student on human scores alone ({interval(own)})"
        lines.append(f"- {line}.")
    return f"{label(student)}, {head} head:\n\n" + "\n".join(lines)


def headline_gaps(table_gap_closed: pd.DataFrame, *, student: str, head: str) -> str:
    """One line a fraction and kind of labels: how much of the gap to all human scores is closed."""
    lines = [
        f"- {arms.paid(row.n_human, row.n_dev)}, {row.labels}: "
        + (f"**{row.gap_closed:.0%}** [{row.low:.0%}, {row.high:.0%}]" if row.resolved else "no gap that these essays could show")
        for row in table_gap_closed.query("student == @student and head == @head").itertuples()
    ]
    told = "\n".join(lines) or "- This study has no Student on all human scores, so there is no gap to measure."
    return f"How much of the gap to *all human scores* is closed:\n\n{told}"


def notebook_map(names: Sequence[str], copies: Sequence[str]) -> str:
    """A table of notebooks by their own titles, with links to the executed `copies` (file names) that lie beside this one."""
    lines = ["| notebook | executed |", "|---|---|"]
    for name in names:
        own = [copy for copy in sorted(copies) if copy.startswith(name)]
        links = ", ".join(f"[{Path(copy).stem.removeprefix(name).strip('_') or 'open'}]({copy})" for copy in own)
        lines.append(f"| {paths.title(paths.notebook(name))} | {links or 'not run'} |")
    return "\n".join(lines)


def machines(records: pd.DataFrame) -> str:
    """Minutes of all notebooks together, and the machines that they ran on (columns seconds, hardware)."""
    seen = {"{processor}, {cores} cores, {memory_gib} GiB, GPU: {gpu}".format(**made) for made in records["hardware"]}
    return f"In all {records['seconds'].sum() / 60:.0f} minutes, on: {'; '.join(sorted(seen))}."


def not_run(missing: Sequence[str], absent: Sequence[str], *, comparable: bool) -> str:
    """What a study lacks: runs without scores, artefacts without a file, and the paper's own experiment."""
    lines = [f"- Runs of the study without scores: {', '.join(missing) or 'none'}."]
    lines += [f"- Artefacts without a file: {', '.join(absent) or 'none'}. Some need groups, a second rater or several seeds."]
    if not comparable:
        lines += ["- The paper's own experiment (PERSUADE, Llama 3.1 8B, ELECTRA, ModernBERT): that is the study `persuade`."]
    return "\n".join(lines)


# ---------------------------------------------------------------- 01 the essays


def rows_read(prepared: Prepared) -> str:
    """What became of the corpus file's rows, the notes of its reader, and where to go on if some essays have no score."""
    counts, notes = prepared.counts, list(prepared.notes)
    if blank := int((prepared.split["split"] == POOL).sum()):
        notes.append(
            f"**{counts['essays'] - blank:,} essays have a human score, {blank:,} have none.** Notebook 15 learns from all that "
            "have one, and scores the others; go on there. Splits and U below are for notebooks 02 to 06, which need every "
            "essay scored."
        )
    told = f"**{counts['rows_read']:,}** rows read = **{counts['essays']:,}** essays + {counts['excluded']:,} left out "
    told += f"+ {counts['not_sampled']:,} not in the sample " if "not_sampled" in counts else ""
    told += f"+ {counts['repeated']:,} further rows of an essay already read.\n\n"
    return told + "\n".join(f"- {note}" for note in notes)


def splits_alike(table_corpus: pd.DataFrame) -> str:
    """Whether test and training essays have the same mean score, in SDs of all scores."""
    rows = table_corpus.set_index("split")
    gap = abs(rows.loc["test", "mean_score"] - rows.loc["train", "mean_score"]) / rows.loc["all", "sd"]
    unlike = "**the parts are not alike**, which every later mean shift has to be read against."
    verdict = "the parts are alike." if gap < 0.05 else unlike
    return f"Test and training essays differ by {gap:.2f} SD in their mean score: {verdict}"


def score_shape(scores: pd.Series, scale: Scale) -> str:
    """The most frequent human score, the share of high scores, and the scores that nobody got."""
    share = scores.value_counts(normalize=True).reindex(scale.scores, fill_value=0)
    absent = [f"{score:g}" for score in share.index[share == 0]]
    told = f"The most frequent score is **{share.idxmax():g}**, with {share.max():.0%} of the essays; "
    told += f"the two highest scores together have {share.iloc[-2:].sum():.1%}. "
    return told + (f"No essay has {', '.join(absent)}." if absent else "Every score of the scale occurs.")


def one_essay(essays: pd.DataFrame) -> str:
    """A simulated training essay of a rather high score. Never for essays of real writers."""
    train = essays[essays["split"] == "train"].sort_values("score")
    one = train.iloc[int(0.7 * len(train))]
    told = f"*{one['prompt']}: {one['assignment']}*\n\nHuman score **{one['score']:g}**, second rater {one['second_score']:g}, "
    return told + f"true quality {one['true_score']:.2f}\n\n> " + one["text"].replace("\n", "\n> ")


def small_groups(table_groups: pd.DataFrame) -> str:
    """The groups that have too few test essays to be judged."""
    if table_groups.empty:
        return "This study names no writer groups; notebook 06 will say so and skip what needs them."
    small = table_groups.query("test < 10 and group != 'not recorded'")
    listed = ", ".join(f"{row.attribute} {row.group} ({row.test})" for row in small.itertuples())
    few = f"With fewer than 10 test essays, shown but never judged: {listed}."
    return few if listed else "Every group has at least 10 test essays."


def subsets(table_subsets: pd.DataFrame, *, nested: int) -> str:
    """How many pairs of runs were checked for nesting, and the scores that a U has too few examples of."""
    checked = f"Checked on {nested} pair(s) of runs: the larger U contains the smaller one."
    told = checked if nested else "One share a seed: nothing to compare."
    fewest = table_subsets.drop(columns=["run", "fraction", "seed", "human_scores", "pool"]).min()
    few = ", ".join(fewest.index[fewest < 3])
    rare = f" In the smallest U the score(s) {few} have fewer than three examples: **nobody can learn them from U**."
    return told + (rare if few else "")


def essays_paid_for(table_corpus: pd.DataFrame, table_subsets: pd.DataFrame) -> str:
    """How many essays there are by split, and how many human scores each share of X costs."""
    sizes, shares = table_corpus.set_index("split")["essays"], table_subsets.groupby("human_scores")["run"].count()
    if POOL in sizes:
        return f"Of {sizes['all']:,} essays {sizes['all'] - sizes[POOL]:,} have a human score."
    runs = ", ".join(
        f"{arms.paid(n + sizes['dev'], sizes['dev'])} in {count} run{'' if count == 1 else 's'}" for n, count in shares.items()
    )
    return f"Of {sizes['all']:,} essays {sizes['train']:,} are to train on and {sizes['test']:,} to test on. Paid for: {runs}."


# ---------------------------------------------------------------- 02 the Teacher


def prompt_lengths(prompts: Sequence[Sequence[int]], cut: Sequence[int], *, max_tokens: int) -> str:
    """Length of the prompts (token ids), and what the limit cuts off the essays (`cut`: tokens of each)."""
    lengths, cut = np.array([*map(len, prompts)]), np.asarray(cut)
    lost = cut.sum() / (lengths.sum() + cut.sum())
    return (
        f"The median prompt has {np.median(lengths):.0f} tokens, the longest {lengths.max()}. **{(cut > 0).mean():.0%}** of the "
        f"essays are longer than {max_tokens} tokens and are cut; {lost:.1%} of all tokens are lost that way."
    )


def teacher_curve(curve: pd.DataFrame, *, failed: float) -> str:
    """Failed attempts, the epoch that was kept, and how strict the Teacher then is.

    curve: as `fine_tuning.finetune` returns it. failed: QWK up to which a fine-tuning has failed (`teacher.FAILED`).
    """
    best, last = curve.loc[curve["best"]].iloc[0], curve["attempt"].max()
    highest = curve[curve["attempt"] < last].groupby("attempt")["qwk"].max().items()
    lines = [f"Attempt {name} **failed**: its best QWK on the development split was {qwk:.3f}." for name, qwk in highest]
    if not best["qwk"] > failed:
        lines.append(f"**This Teacher failed** in all of {last} attempt(s). Its scores teach nothing.")
    late = "The last epoch is the best: more epochs might still help." if curve["best"].iloc[-1] else "Later epochs were worse."
    told = f"Kept: epoch **{best['epoch']:.0f}**, QWK = {best['qwk']:.3f}, r = {best['r']:.3f} on the development split. {late} "
    strict = "stricter" if best["smd"] < 0 else "more lenient"
    lines.append(told + f"There its most likely scores are {abs(best['smd']):.2f} SD {strict} than people's.")
    return "\n\n".join(lines)


def teacher_left_out(curve: pd.DataFrame, *, essays: int) -> str:
    """Agreement of a frozen Teacher on U left out, and what training from there changed (the curve of `tuned_teacher.fit`)."""
    first, last = curve.iloc[0], curve.iloc[-1]
    start = f"QWK = {first['qwk']:.3f}, r = {first['r']:.3f}"
    if len(curve) == 1:
        return f"The frozen Teacher on the {essays} essays of U, by leave-one-out: {start}."
    worse = last["qwk"] < first["qwk"] and last["r"] < first["r"]
    better = last["qwk"] > first["qwk"] and last["r"] > first["r"]
    told = "**Both fell: here the frozen Teacher is the better one**" if worse else "Which is better they do not tell"
    told = "Both rose" if better else told
    return (
        f"On the {essays} essays of U, by cross-fitting: {start} of the frozen Teacher, and QWK = {last['qwk']:.3f}, "
        f"r = {last['r']:.3f} after {last['epoch']:.0f} epoch(s) of training from there, which are kept. {told}; on so few "
        "essays a difference of some hundredths is within chance."
    )


def condition(teacher_r: float, ridge_r: float, *, essays: int) -> str:
    """Whether the Teacher ranks the development essays better than ridge regression on the same U."""
    told = f"Ridge on the same {essays} essays: r = {ridge_r:.3f}; the Teacher: r = {teacher_r:.3f}. "
    if teacher_r > ridge_r:
        return told + "The Teacher ranks essays better than the cheap Student: **so far the condition is met.**"
    told += "**The condition of the method is not met here: this Teacher is no better than a cheap Student on U, "
    return told + "and its scores are not expected to help.**"


# ---------------------------------------------------------------- 03 synthetic scores


def strictness(found: Mapping[str, float]) -> str:
    """Whether the Teacher is strict and short of high scores, beyond chance (`fairness.suppression`)."""
    strict, lenient, fewer = found["shift_high"] < 0, found["shift_low"] > 0, found["change_high"] < 0
    told = "stricter than people" if strict else "more lenient than people" if lenient else "not shown to differ from people"
    seen = [name for name, shown in {"strictness": strict, "too few high scores": fewer}.items() if shown]
    shift = "{:+.2f} points [{:+.2f}, {:+.2f}]".format(*(found[f"shift{end}"] for end in ("", "_low", "_high")))
    percent = [100 * found[name] for name in ("change", "change_low", "change_high")]
    change = "{:+.1f} percentage points [{:+.1f}, {:+.1f}]".format(*percent)
    return (
        f"On average the Teacher is **{told}**: machine minus human is {shift}. It gives one of the two highest scores to "
        f"{found['machine_top']:.1%} of the pool, people to {found['human_top']:.1%}: {change}. The paper found its Teacher "
        f"strict and short of high scores; of these two, the essays here show **{' and '.join(seen) or 'neither'}**."
    )


def confidence(answers: pd.DataFrame, *, smoothed: bool) -> str:
    """Whether the Teacher is as sure as it is right, on average (columns confidence, correct)."""
    sure, right = answers["confidence"].mean(), answers["correct"].mean()
    told = "as sure as it is right."
    if abs(sure - right) > 0.03:
        told = "**too sure of itself**." if sure > right else "**less sure than it could be**."
    told = f"Mean confidence {sure:.0%}, exactly right {right:.0%}: on average the Teacher is {told}"
    return told + (" Smoothed targets ask for modest confidence." if smoothed else "")


def teacher_as_rater(quality: pd.DataFrame) -> str:
    """The Teacher's agreement on the test essays in both readings, and its shift on the pool (`run_tables.teacher_quality`)."""
    qwk = quality.set_index(["part", "reading"])["qwk"]
    shift = quality.set_index(["part", "reading"]).loc[("pool", "most likely"), "smd"]
    return (
        f"On the test essays the Teacher's most likely score has QWK {qwk['test', 'most likely']:.3f}, its expected score, "
        f"matched, {qwk['test', 'expected, matched']:.3f}. The pool's synthetic scores lie {abs(shift):.2f} SD "
        f"{'below' if shift < 0 else 'above'} people's."
    )


# ---------------------------------------------------------------- 04 Students


def by_labels(table: pd.DataFrame) -> str:
    """QWK of the first Student on the test essays, by the labels that it learned from (`run_tables.students`)."""
    first = table[(table["student"] == table["student"].iloc[0]) & (table["head"] == table["head"].iloc[0])]
    told = ", ".join(f"{row.qwk:.3f} on `{row.labels}`" for row in first.itertuples())
    return f"QWK of {first['student'].iloc[0]}, {first['head'].iloc[0]} head, on the test essays: {told}."


def students(table: pd.DataFrame, *, failure: float) -> str:
    """The best Student of a run, what synthetic scores bring each head of the first Student, networks above ridge, failed ones.

    failure: QWK up to which a training has failed, as a Teacher's has (`teacher.FAILED`).
    """
    network, floor = table[table["student"] != "ridge"], table[table["student"] == "ridge"].set_index("labels")["qwk"]
    top = network.loc[network["qwk"].idxmax()]
    lines = [f"The best Student of this run: **{top['labels']}**, {top['head']}, QWK {top['qwk']:.3f}."]
    for head, rows in network[network["student"] == network["student"].iloc[0]].groupby("head", sort=False):
        qwk = rows.set_index("labels")["qwk"]
        for name in qwk.index.drop("human") if "human" in qwk else ():
            lines.append(f"{head}: {name} {qwk[name]:.3f}, {qwk[name] - qwk['human']:+.3f} against human scores alone.")
    beside = network[network["labels"].isin(floor.index)]
    beaten = (beside["qwk"].to_numpy() > floor[beside["labels"]].to_numpy()).sum()
    lines.append(f"{beaten} of {len(beside)} networks beat the classical Student with the same labels.")
    failed = [f"{row.labels} ({row.student}, {row.head})" for row in network[~(network["qwk"] > failure)].itertuples()]
    told = f": {', '.join(failed)}. A Teacher would be fine-tuned again; a Student is not, it counts as it is" if failed else ""
    lines.append(f"{len(failed)} of {len(network)} networks failed (QWK not above {failure:g}){told}.")
    return "\n".join(f"- {line}" for line in lines)
