"""Write the numbers of README.md, docs/results.md and docs/replication.md from results/: `.venv/bin/python tools/readme.py`.

A block stands between `<!-- NAME STUDY -->` and `<!-- end -->`. NAME is a function of `BLOCKS`; STUDY is ellipse where left out.
With --check, it only says which page differs.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.models import weights
from cyborg_utils.study import agreement_in_words, arms, artefacts, bias, bias_in_words, replication, run_tables, scores, summary

HOME = Path(__file__).resolve().parent.parent
PAGES = (HOME / "README.md", HOME / "docs" / "results.md", HOME / "docs" / "replication.md")
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


def sizes(profile: str) -> str:
    """Essays by split, levels, models and draws, in a sentence."""
    study, table = config.load(profile), artefacts.read_table(profile, "table_corpus").set_index("split")["essays"]
    draws = {share: sum(run.fraction == share for run in study.runs) for share in study.fractions}
    runs = "; ".join(f"{share:.0%} of X in {count} draw{'' if count == 1 else 's'}" for share, count in draws.items())
    students = [f"`{model}`" for model in study.section("train_student")["models"]]
    return (
        f"{table['all']:,} essays: {table['train']:,} to train on (X), {table['dev']:,} development essays, "
        f"{table['test']:,} test essays; {study.scale.size} levels. Teacher `{study.section('finetune_teacher')['model']}`, "
        f"Student{'s' if len(students) > 1 else ''} {', '.join(students)}. Human scores are kept for {runs}."
    )


def chance(profile: str) -> str:
    """What is beyond chance, what the same human scores buy without a Teacher, and other Students: notebook 05's sentences."""
    place = dict(zip(("student", "head"), config.load(profile).headline, strict=True))
    pairs, qwk = (artefacts.read_table(profile, f"table_{name}") for name in ("comparisons", "qwk"))
    return "\n".join(
        [
            agreement_in_words.gain(pairs, margin=pairs["margin"].iloc[0], **place).strip(),
            "\nThe same number of human scores, without a Teacher:\n",
            agreement_in_words.same_price(qwk, **place),
            "\nWhat it brings other Students:\n",
            agreement_in_words.other_students(pairs, **place),
            f"\n{agreement_in_words.ceiling(scores.raters(profile), qwk, config.load(profile).scale)}",
        ]
    )


def larger(profile: str) -> str:
    """What the study's last Student, the largest, gains from synthetic scores, beside what its human scores buy without them."""
    study = config.load(profile)
    place = {"student": study.section("train_student")["models"][-1], "head": study.headline[1]}
    qwk, pairs = (arms.pick(artefacts.read_table(profile, f"table_{name}"), **place) for name in ("qwk", "comparisons"))
    pairs, full = pairs[pairs["system"] == "cyborg"], arms.pick(qwk, labels="full")["qwk"].item()
    said = []
    for fraction, part in pairs.groupby("fraction"):
        few, gained = arms.pick(qwk, fraction=fraction).set_index("labels"), part.set_index("baseline")
        told = {arm: agreement_in_words.interval(gained.loc[arm]) for arm in ("human", "human+dev")}
        cyborg, score = few.loc["cyborg"], few["qwk"].map("{:.3f}".format)
        said.append(
            f"with {cyborg['n_human'] - cyborg['n_dev']} human scores, a QWK of {score['human']} alone and {score['cyborg']} on "
            f"Cyborg Data ({told['human']}), {score['human+dev']} where it learns from the {cyborg['n_dev']} development scores "
            f"instead (Cyborg Data: {told['human+dev']})"
        )
    corpus, size = study.section("prepare_data")["corpus"].upper(), weights.registry()[place["student"]]["role"].split(", ")[1]
    who = f"On {corpus} a frozen Student of the paper's size (`{place['student']}`, {size}; mean of {cyborg['seeds']} draws)"
    return f"{who} has, {'; '.join(said)}; {full:.3f} with all."


def teachers(profile: str) -> str:
    """How many fine-tunings failed, and how many of the two highest scores the Teacher gives at the main share."""
    table = artefacts.read_table(profile, "table_suppression").query("arm == 'teacher' and essays != 'pool'")
    row = table.iloc[0]
    return (
        f"{run_tables.attempts_in_words(run_tables.attempts(profile))} By its most likely level it gives one of the two highest "
        f"scores to {row['machine_top']:.1%} of the test essays, people to {row['human_top']:.1%}."
    )


def whom(profile: str) -> str:
    """Verdicts on groups for the method and each trained model on Cyborg Data, and what the match did, from notebook 06."""
    place = dict(zip(("student", "head"), config.load(profile).headline, strict=True))
    fraction = arms.headline_fraction(scores.raters(profile))
    tables = [artefacts.read_table(profile, f"table_{name}") for name in ("model_or_method", "matching")]
    verdicts, matched = (arms.pick(table, labels="cyborg", fraction=fraction, **place) for table in tables)
    confidence = artefacts.read_record(profile, "06_analyze_bias")["parameters"]["confidence"]
    told = [
        words(table, confidence=confidence)
        for words, table in ((bias_in_words.model_or_method, verdicts), (bias_in_words.matching, matched))
    ]
    return "\n\n".join(told)


def public() -> str:
    """What the audit of the public scorers rests on."""
    table = pd.read_csv(HOME / "results" / "public_scorers" / "power.csv")
    samples = " or ".join(f"{n:,}" for n in sorted(table["essays"].unique()))
    return f"{table['machine'].nunique()} machines, audited on samples of {samples} essays and on all of them."


def study(profile: str) -> str:
    """QWK with interval and the share of the gap closed, a row for every arm of each Student and head, by fraction."""
    models, heads = (config.load(profile).section("train_student")[name] for name in ("models", "heads"))
    qwk, gaps = arms.systems(artefacts.read_table(profile, "table_qwk")), artefacts.read_table(profile, "table_gap_closed")
    own = qwk[qwk["student"].isin([*models, "teacher"])]
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
    order = {"student": [*models, "teacher"], "head": [*heads, *arms.TEACHER.values()], "arm": list(LABELS)}
    own = own.assign(**{name: pd.Categorical(own[name], values) for name, values in order.items()})
    own = own.sort_values(["fraction", *order])
    for row in own.itertuples():
        u = int(row.n_human - row.n_dev)
        counts = {"u": u, "rest": whole - u, "all": whole, "paid": int(row.n_human)}
        gap = arms.pick(gaps, student=row.student, head=row.head, fraction=row.fraction, labels=row.arm, resolved=True)
        share = "".join("{:.0%} ({:.0%} to {:.0%})".format(*values) for values in gap[["gap_closed", "low", "high"]].to_numpy())
        interval = f"{row.low:.3f} to {row.high:.3f} ({row.interval_of})"
        several = [name for name, of in ((row.student, models), (row.head, heads)) if len(of) > 1 and row.student in models]
        who = ", ".join([*several, ""])
        cells = (f"{u:,} + {row.n_dev:,} development", who + LABELS[row.arm].format(**counts), row.seeds, f"{row.qwk:.3f}")
        lines.append(f"| {' | '.join(map(str, [*cells, interval, share]))} |")
    return "\n".join(lines)


def found(profile: str = "ellipse") -> str:
    """The sentence that each of the study's notebooks beyond the paper found, from its record; one that was not run says so."""
    lines, extras = [], config.load(profile).extras
    asked = [(notebook, question) for notebook, question in QUESTIONS.items() if notebook[3:] in extras]
    for number, (notebook, question) in enumerate(asked, 1):
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
    """A paragraph: the effect over many draws on frozen states, where it ends, and the paper's fine-tuned way beside it."""
    tables = {name: artefacts.read_table(profile, f"table_draws_{name}") for name in ("summary", "gain", "worth")}
    near = min(tables["gain"]["fraction"], key=lambda share: abs(share - 0.10))
    splits = artefacts.read_table(profile, "table_draws")["split"].nunique()
    own = tables["summary"][tables["summary"]["fraction"] == near].set_index("arm")
    full = tables["summary"].set_index("arm").loc["full"]
    gain = tables["gain"].query("fraction == @near and baseline == 'human'").iloc[0]
    paying = tables["gain"].query("baseline == 'human' and low > 0")["n_human"].max()
    whole = int(full["n_human"])
    said = [
        "On real test essays ([ELLIPSE](https://github.com/scrosseye/ELLIPSE-Corpus), nine half-point levels), with "
        f"**{gain['n_human']} human scores in all**, over {gain['draws']} draws of them in each of {splits} splits: a Student of "
        f"22M parameters has a QWK of {own.loc['human', 'qwk']:.3f} on these alone, **{own.loc['cyborg', 'qwk']:.3f}** with a "
        f"0.5B-parameter Teacher's scores of the other {whole - gain['n_human']:,} essays, and {full['qwk']:.3f} with all "
        f"{whole:,} human scores. The Teacher itself has {own.loc['teacher', 'qwk']:.3f}. In the study's own split the gain is "
        f"{gain['gain']:+.3f} (95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}), above 0 in {gain['positive']:.0%} of "
        f"the draws, {gain['gap_closed']:.0%} of the gap.",
        f"The gain is beyond chance up to {paying:,} human scores. Nothing was fine-tuned: both models read every essay once, "
        "and ridge regression does the rest, in seconds.",
    ]
    study = config.load(profile)
    model, head = study.headline
    qwk = arms.systems(artefacts.read_table(profile, "table_qwk"))
    fraction = min(run.fraction for run in study.runs)
    place = {"student": model, "head": head}
    few, cyborg = (arms.pick(qwk, fraction=fraction, arm=arm, **place).iloc[0] for arm in ("human", "cyborg"))
    top, teacher = arms.pick(qwk, arm="full", **place).iloc[0], arms.pick(qwk, fraction=fraction, arm="teacher-expected").iloc[0]
    said.append(
        f"Fine-tuned as in the paper ({cyborg['seeds']} seeds, {few['n_dev']} more human scores for development) the same models "
        f"have {few['qwk']:.3f}, {cyborg['qwk']:.3f} and {top['qwk']:.3f}, the Teacher {teacher['qwk']:.3f}."
    )
    judged = arms.pick(artefacts.read_table(profile, "table_model_or_method"), fraction=fraction, labels="cyborg", **place)
    models = judged[judged["speaks_of"] != bias.METHOD]
    count, shown = int((models["biased"] > 0).sum()), "not shown" if judged["biased"].iloc[0] == 0 else "shown"
    who = f"{count} of these {len(models)} fine-tuned Students treat{'s' if count == 1 else ''} some group of writers differently"
    said.append(f"{who}; the method is {shown} to.")
    return " ".join(said)


def draws(profile: str = "ellipse") -> str:
    """Mean QWK over draws by arm and number of human scores, and the gain with its interval."""
    table, gain = (artefacts.read_table(profile, f"table_draws_{name}") for name in ("summary", "gain"))
    kinds = {"ridge": "ridge on words", "human": "Student, human", "cyborg": "Student, cyborg", "teacher": "Teacher"}
    lines = [f"| human scores in all | {' | '.join(kinds.values())} | gain [95 %] | draws with a gain |", "|---|" + "---|" * 6]
    for n, part in table[table["fraction"] < 1].groupby("n_human"):
        qwk = part.set_index("arm")
        row = gain.query("n_human == @n and baseline == 'human'").iloc[0]
        cells = [f"{qwk.loc[arm, 'qwk']:.3f} ({qwk.loc[arm, 'qwk_sd']:.3f})" for arm in kinds]
        told = f"{row['gain']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] | {row['positive']:.0%}"
        lines.append(f"| {n:,} | {' | '.join(cells)} | {told} |")
    whole = table[table["fraction"] == 1].set_index("arm")
    cells = [f"{whole.loc[arm, 'qwk']:.3f}" for arm in ("ridge", "full")] + ["", f"{whole.loc['teacher', 'qwk']:.3f}", "", ""]
    return "\n".join([*lines, f"| {int(whole['n_human'].max()):,} | {' | '.join(cells)} |"])


def demo(profile: str = "demo") -> str:
    """What the demo shows, on essays whose true quality is known."""
    done, found = summary.in_short(profile)
    table = artefacts.read_table(profile, "table_truth").query("labels == 'cyborg'")
    alone = artefacts.read_table(profile, "table_truth_seeds")
    seen = (alone["gap_high"] < 0).groupby([alone["attribute"], alone["group"]]).sum()
    lower = [
        f"{row.attribute} {row.group} {row.gap:+.2f} [{row.gap_low:+.2f}, {row.gap_high:+.2f}], "
        f"in {seen[row.attribute, row.group]} of {alone['seed'].nunique()} seeds alone"
        for row in table.itertuples()
        if row.gap_high < 0
    ]
    place = dict(zip(("student", "head"), config.load(profile).headline, strict=True))
    gains = arms.pick(artefacts.read_table(profile, "table_seeds"), baseline="human", **place)
    clear = ((gains["p_holm"] < agreement_in_words.ALPHA) & (gains["difference"] > 0)).sum()
    return (
        f"The demo's essays are written by a program, so that the truth behind every score is known. {done} {found} "
        f"So it is in {clear} of {len(gains)} seeds alone. "
        f"At equal true quality the Student on Cyborg Data gives fewer points to {len(lower)} of {len(table)} groups of writers "
        f"({'; '.join(lower)}); the [datasheet](cyborg_utils/data/simulated.md) tells which biases were planted."
    )


def persuade(profile: str = "persuade_here") -> str:
    """The gain over draws on the part of the paper's corpus, by number of human scores, against both baselines."""
    if not paths.results(profile, "tables", "table_draws_gain.csv").is_file():
        return "*Not run yet.*"
    gain, table = (artefacts.read_table(profile, f"table_draws_{name}") for name in ("gain", "summary"))
    parts = []
    near = gain["n_human"].iloc[(gain["fraction"] - 0.10).abs().argmin()]
    for n in sorted({gain["n_human"].min(), near, gain["n_human"].max()}):
        rows = gain[gain["n_human"] == n]
        own, rows = table[table["n_human"] == n].set_index("arm")["qwk"], rows.set_index("baseline")
        human, best = rows.loc["human"], rows.loc["best"] if "best" in rows.index else rows.loc["ridge"]
        parts.append(
            f"{n:,} human scores: {own['human']:.3f} alone, {own['cyborg']:.3f} with synthetic ones ({human['gain']:+.3f} "
            f"[{human['low']:+.3f}, {human['high']:+.3f}]; {best['gain']:+.3f} [{best['low']:+.3f}, {best['high']:+.3f}] against "
            "the best scorer that they buy)"
        )
    full = table[table["arm"] == "full"].iloc[0]
    return (
        f"On the paper's corpus (a part of PERSUADE 2.0, frozen models): {'; '.join(parts)}; {full['qwk']:.3f} with all "
        f"{full['n_human']:,}. The best scorer is chosen without test essays among ridge on words, Student, Teacher "
        "and their average. [Claim by claim](docs/replication.md)."
    )


def students(profile: str) -> str:
    """The paper's claims on agreement for every Student of a study."""
    return _claims(replication.by_student(profile), claim="the paper's claim", student="Student", here="here", verdict="verdict")


def directions(profile: str) -> str:
    """The paper's claims on the Teacher's and the first Student's bias, from notebook 06."""
    table = replication.verdicts(profile).query("notebook == '06_analyze_bias'")
    return _claims(table, claim="the paper's claim", here="here", verdict="verdict")


def _claims(table: pd.DataFrame, **names: str) -> str:
    """The columns of a table of claims that have a name here, with their verdicts in bold."""
    rows = table.assign(verdict="**" + table["verdict"] + "**")[[*names]].to_numpy()
    lines = [f"| {' | '.join(cells)} |" for cells in (names.values(), *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(names), *lines[1:]])


def tuned(profile: str) -> str:
    """What fine-tuned Students gain, by head, in a study with one share of human scores; and what ridge on words does."""
    model, heads = config.load(profile).headline[0], config.load(profile).section("train_student")["heads"]
    qwk, pairs = (artefacts.read_table(profile, f"table_{name}") for name in ("qwk", "comparisons"))
    said = []
    for student, head in [*((model, head) for head in heads), ("ridge", "regression")]:
        place = {"student": student, "head": head}
        score = arms.pick(qwk, **place).set_index("labels")["qwk"].map("{:.3f}".format)
        gain = agreement_in_words.interval(arms.pick(pairs, system="cyborg", baseline="human", **place).iloc[0])
        who = "ridge on words" if student == "ridge" else f"a {head} head"
        said.append(
            f"{who} {score['human']} alone, {score['cyborg']} on Cyborg Data ({gain}), {score['full']} on all human scores"
        )
    corpus = config.load(profile).section("prepare_data")["corpus"].upper()
    few, teacher = (arms.pick(arms.systems(qwk), arm=arm).iloc[0] for arm in ("human", "teacher"))
    return (
        f"On {corpus}, fine-tuned as in the paper, with {few['n_human'] - few['n_dev']} human scores ({few['n_dev']} more for "
        f"development), drawn once, and {few['n']} test essays: {'; '.join(said)}; the Teacher {teacher['qwk']:.3f}."
    )


def verdicts(profile: str = "persuade_here") -> str:
    """The paper's claims one by one."""
    return replication.page(profile)


def readings(profile: str) -> str:
    """What each way of reading knows of a score, from benchmarks/frozen.py: QWK by layer, and of middle layers side by side."""
    table = _measured("frozen", f"{profile}_readings")
    lines = [
        "| model | reads | tokens | state | QWK by layer | middle layers together (SD over draws) |",
        "|---|---|---|---|---|---|",
    ]
    for (model, rubric, tokens, pooling), part in table.groupby(["model", "rubric", "tokens", "pooling"], sort=False):
        together, alone = part[part["layer"] == "middle together"].iloc[0], part[part["layer"] != "middle together"]
        layers = ", ".join(f"{row.layer}: {row.qwk:.3f}" for row in alone.itertuples())
        reads = "rubric, then the essay" if rubric else "the essay"
        lines.append(f"| {model} | {reads} | {tokens} | {pooling} | {layers} | {together.qwk:.3f} ({together.qwk_sd:.3f}) |")
    return "\n".join(lines)


def blocks(profile: str) -> str:
    """Kinds of features alone and together, by number of human scores, from benchmarks/frozen.py: QWK and its SD over draws."""
    table = _measured("frozen", f"{profile}_blocks")
    table["cell"] = [f"{row.qwk:.3f} ({row.qwk_sd:.3f})" for row in table.itertuples()]
    wide = table.pivot(index="features", columns="n_human", values="cell").loc[table["features"].unique()]
    head = ["| ridge on | " + " | ".join(f"{n:,} human scores" for n in wide) + " |", "|---|" + "---|" * len(wide.columns)]
    return "\n".join([*head, *(f"| {name} | {' | '.join(row)} |" for name, row in zip(wide.index, wide.to_numpy(), strict=True))])


def starts() -> str:
    """The table of benchmarks/starts.py, and its pairs."""
    return _paragraphs("starts", "README", 2)


def minutes() -> str:
    """What benchmarks/agreement.py measured, and how."""
    return _paragraphs("bench", "agreement", 0)


def updates(profile: str) -> str:
    """The table of benchmarks/updates.py, and how it was measured."""
    return _paragraphs("updates", profile, 1)


def promised() -> str:
    """How often the page of `cyborg label` kept its promises, by corpus, from benchmarks/promises.py."""
    table = _measured("promises", "kept").query("corpus != 'no-model'")
    table["cell"] = [f"{row.kept:.0%} of {row.draws}" if row.kept == row.kept else "none made" for row in table.itertuples()]
    names = table["corpus"].unique()
    lines = ["| promise | stated | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for (promise, case, stated), part in table.groupby(["promise", "case", "stated"], sort=False):
        cells = part.set_index("corpus")["cell"].reindex(names).fillna("")
        lines.append(f"| {promise}: {case} | {stated:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _paragraphs(folder: str, name: str, first: int) -> str:
    """The page that a benchmark wrote, from its paragraph `first` (0 is the top)."""
    return "\n\n".join((HOME / "results" / folder / f"{name}.md").read_text(encoding="utf-8").strip().split("\n\n")[first:])


def _measured(folder: str, name: str) -> pd.DataFrame:
    return pd.read_csv(HOME / "results" / folder / f"{name}.csv")


def _whose(record: dict) -> str:
    """The run whose Teacher and Student a notebook took, by the scores that its record names as inputs."""
    runs = [hit[1] for name in record["inputs"] if (hit := re.search(r"/students_(u[\d.]+_s\d+)\.csv$", name))]
    return f" (Teacher and Student of run `{runs[0]}`.)" if runs else ""


def bench() -> str:
    """The table of `make bench` and the line that says where it ran."""
    return _paragraphs("bench", "speed", 1)


def written(text: str) -> str:
    """A page with every block made anew."""

    def block(hit: re.Match) -> str:
        name, profile = hit.groups()
        return f"<!-- {name}{f' {profile}' if profile else ''} -->\n{BLOCKS[name](*filter(None, [profile]))}\n<!-- end -->"

    return re.sub(r"<!-- (\w+)(?: (\w+))? -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)


BLOCKS = {
    one.__name__: one
    for one in (
        bench,
        blocks,
        chance,
        claim,
        demo,
        directions,
        draws,
        found,
        larger,
        minutes,
        persuade,
        promised,
        public,
        readings,
        sizes,
        starts,
        students,
        study,
        teachers,
        tuned,
        updates,
        verdicts,
        whom,
    )
}


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
