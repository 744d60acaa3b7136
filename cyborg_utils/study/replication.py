"""The paper's claims one by one: replicated, not replicated or undecided by a study's tables and records.

A verdict follows from an interval by a rule that is fixed here, before any result. A claim whose notebook has not run is waiting,
and says for which one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data.sources import PERSUADE_SPLIT
from cyborg_utils.study import arms, artefacts, paper
from cyborg_utils.study.agreement_in_words import interval

YES, NO, OPEN, WAITING = "replicated", "not replicated", "undecided", "waiting"
NEAR = 0.05  # QWK below all human scores that is still "nearly as good": the margin of notebook 05
PUBLISHED = {fact.name: fact for fact in paper.FACTS}


@dataclass(frozen=True)
class Found:
    """What a study found of a claim, in words, and the verdict."""

    here: str
    verdict: str


@dataclass(frozen=True)
class Claim:
    """A claim of the paper in our words, the notebook that decides it, how, and what would change the verdict."""

    text: str
    notebook: str
    judge: Callable[[str], Found]
    change: str


def direction(low: float, high: float, sign: int) -> str:
    """The verdict on "above 0" (sign 1) or "below 0" (-1) by an interval; undecided where it holds 0, or is not known."""
    low, high = sorted((sign * low, sign * high))
    return YES if low > 0 else NO if high < 0 else OPEN


def contains(value: float, low: float, high: float) -> str:
    """The verdict on a published number by an interval."""
    return YES if low <= value <= high else NO if high < value or value < low else OPEN


def not_below(low: float, high: float, margin: float) -> str:
    """The verdict on "at most `margin` below" by an interval of the difference."""
    return YES if low > -margin else NO if high < -margin else OPEN


# ---------------------------------------------------------------- the judges


def _near(profile: str, name: str) -> pd.DataFrame:
    """The rows of a table of draws at the share of human scores nearest the paper's 10 %."""
    table = artefacts.read_table(profile, name)
    shares = table.loc[table["fraction"] < 1, "fraction"]
    return table[table["fraction"] == min(shares, key=lambda share: abs(share - 0.10))]


def _draws(profile: str) -> pd.DataFrame:
    return _near(profile, "table_draws_summary").set_index("arm")


def _gain_over(profile: str, baseline: str) -> pd.Series:
    return _near(profile, "table_draws_gain").set_index("baseline").loc[baseline]


def _gain(profile: str) -> Found:
    arms, row = _draws(profile), _gain_over(profile, "human")
    told = f"{arms.loc['human', 'qwk']:.3f} to {arms.loc['cyborg', 'qwk']:.3f} with {row['n_human']:,.0f} human scores"
    told += f", mean of {row['draws']:.0f} draws; {interval(row, 'gain')}"
    return Found(told, direction(row["low"], row["high"], 1))


def _size(profile: str) -> Found:
    row, published = _gain_over(profile, "human"), PUBLISHED["gain"].value
    return Found(interval(row, "gain"), contains(published, row["low"], row["high"]))


def _baseline(profile: str) -> Found:
    arms = _draws(profile)
    row, length = arms.loc["human"], arms.loc["length", "qwk"]
    told = f"{row['qwk']:.3f}, nine of ten draws {row['low']:.3f} to {row['high']:.3f}; the essays' length alone {length:.3f}"
    return Found(told, contains(PUBLISHED["human"].value, row["low"], row["high"]))


def _best(profile: str) -> Found:
    arms, row = _draws(profile), _gain_over(profile, "best")
    told = f"best rival {arms.loc['best', 'qwk']:.3f}, cyborg {arms.loc['cyborg', 'qwk']:.3f}; "
    return Found(told + interval(row, "gain"), direction(row["low"], row["high"], 1))


def _for_prompts(row: pd.Series) -> str:
    """A difference with its interval, and the one over prompts where there are several."""
    told = f"; for other prompts too [{row['prompt_low']:+.3f}, {row['prompt_high']:+.3f}]"
    return interval(row) + (told if row["prompt_low"] == row["prompt_low"] else "")


def _full(profile: str) -> Found:
    row = _near(profile, "table_probe_differences").set_index("baseline").loc["full"]
    return Found(_for_prompts(row), not_below(row["low"], row["high"], NEAR))


def _fact(name: str) -> Callable[[str], Found]:
    def judge(profile: str) -> Found:
        published = artefacts.read_record(profile, PUBLISHED[name].notebook)["measured"]["published"]
        if name not in published:
            return Found("these essays have no such group, or too few essays of it", OPEN)
        known = [float("nan") if part is None else part for part in published[name]]
        value, low, high, *prompts = (*known, float("nan"), float("nan"))[: max(3, len(known))]
        told, verdict = interval({"difference": value, "low": low, "high": high}), direction(low, high, PUBLISHED[name].sign)
        if len(prompts) == 2 and prompts[0] == prompts[0]:
            told += f"; for other prompts too [{prompts[0]:+.3f}, {prompts[1]:+.3f}]"
            if verdict != OPEN and direction(*prompts, PUBLISHED[name].sign) == OPEN:
                told += ", which leaves it open"
        return Found(told, verdict)

    return judge


MODELS = "the paper's models: a Teacher of 8B parameters, fine-tuned, and Students whose layers are all trained"
CLAIMS = (
    Claim(
        "With synthetic scores for the other 90 % a Student agrees better with people than on 10 % human scores alone",
        "16_repeat_draws",
        _gain,
        f"{MODELS}; another number of human scores (notebook 16 has them from few to half of all)",
    ),
    Claim(
        "The gain in QWK is 0.151: from 0.658 to 0.809 (ELECTRA)",
        "16_repeat_draws",
        _size,
        "a Student that learns as little from few human scores as the paper's: fewer updates, a classification head, no match "
        "of mean and SD",
    ),
    Claim(
        "Without them it has QWK 0.658",
        "16_repeat_draws",
        _baseline,
        "the same, and a Student that is not told an essay's length, as the frozen one here is",
    ),
    Claim(
        "*Not asked in the paper:* the gain holds against the best that the same human scores buy",
        "16_repeat_draws",
        _best,
        "a stronger Student, or a rival that is left out here; the rival is chosen by leave-one-out on the human scores, never "
        "by test essays",
    ),
    Claim(
        f"Cyborg Data is nearly as good as all human scores (here: at most {NEAR:g} QWK below)",
        "17_probe_agreement",
        _full,
        f"another margin; more test essays, where it is undecided; {MODELS}",
    ),
    Claim("The Teacher is strict: it shifts the mean down", "06_analyze_bias", _fact("shift"), MODELS),
    Claim(
        "It gives fewer of the two highest scores",
        "06_analyze_bias",
        _fact("top"),
        "reading levels that are matched in spread: a best guess shrinks towards the mean whatever model makes it",
    ),
    *(
        Claim(
            f"The Student is stricter than people with {who}",
            "06_analyze_bias",
            _fact(name),
            "the essays missing here; another Teacher",
        )
        for name, who in {
            "disadvantaged": "economically disadvantaged writers",
            "learners": "English learners",
            "disabled": "students with disabilities",
        }.items()
    ),
)


def verdicts(profile: str) -> pd.DataFrame:
    """One row a claim: claim, here, verdict, change, notebook. A claim whose table or record is missing is waiting."""
    rows = []
    for claim in CLAIMS:
        try:
            found = claim.judge(profile)
        except CyborgError:
            found = Found(f"waiting for notebook {claim.notebook[:2]}", WAITING)
        except KeyError as missing:  # a table from before the arm was there
            found = Found(f"waiting for notebook {claim.notebook[:2]} to be run anew ({missing.args[0]})", WAITING)
        row = {"claim": claim.text, "here": found.here, "verdict": found.verdict, "change": claim.change}
        rows.append(row | {"notebook": claim.notebook})
    return pd.DataFrame(rows)


def by_student(profile: str) -> pd.DataFrame:
    """The claims on agreement for each of a study's Students and heads, at the share of human scores nearest the paper's 10 %.

    Columns claim, student, here, verdict. It rests on notebook 05, so it serves studies without notebook 16 too. The intervals
    hold for other essays, and for other seeds where there are several. Raises CyborgError where notebook 05 has not run.
    """
    section, found = config.load(profile).section("train_student"), []
    pairs, qwk = (_near(profile, f"table_{name}") for name in ("comparisons", "qwk"))
    for model, head in [(model, head) for model in section["models"] for head in section["heads"]]:
        ours = arms.pick(pairs, student=model, head=head, system="cyborg").set_index("baseline")
        gain, full = ours.loc["human"], ours.loc["full"]
        few = arms.pick(qwk, student=model, head=head, labels="human").iloc[0]
        told = f"{few['qwk']:.3f} [{few['low']:.3f}, {few['high']:.3f}]"
        rise = (
            f"{few['qwk']:.3f} to {gain['qwk']:.3f} with {gain['n_human'] - gain['n_dev']:,} human scores; {_for_prompts(gain)}"
        )
        judged = {
            0: (rise, direction(gain["low"], gain["high"], 1)),
            1: (interval(gain), contains(PUBLISHED["gain"].value, gain["low"], gain["high"])),
            2: (told, contains(PUBLISHED["human"].value, few["low"], few["high"])),
            4: (_for_prompts(full), not_below(full["low"], full["high"], NEAR)),
        }
        found += [(at, f"{model}, {head}", *said) for at, said in judged.items()]
    table = pd.DataFrame(found, columns=["claim", "student", "here", "verdict"]).sort_values(
        "claim", kind="stable", ignore_index=True
    )
    return table.assign(claim=[CLAIMS[at].text for at in table["claim"]])


def differs(profile: str) -> list[str]:
    """What is not as in the paper: essays, human scores, models, draws."""
    study = config.load(profile)
    teacher, student = study.section("finetune_teacher"), study.section("train_student")
    try:
        size = artefacts.read_table(profile, "table_corpus").set_index("split")["essays"]
        here = {"train": size["train"] + size["dev"], "test": size["test"]}
        train, test = (f"{count:,} of {PERSUADE_SPLIT[name]:,}" for name, count in here.items())
        essays = f"{train} training and {test} test essays, not drawn at random from the corpus"
    except CyborgError:
        essays = "waiting for notebook 01"
    tuned = "ridge regression on its layers" if teacher["method"] == "frozen" else "fine-tuned by LoRA"
    lines = [
        f"**Essays.** {essays}.",
        f"**Teacher.** {teacher['model']}, {tuned} {teacher['layers'] or ''}; the paper's is Llama 3.1 8B, fine-tuned.",
        f"**Student.** {', '.join(student['models'])}, head {', '.join(student['heads'])}, which reads the first "
        f"{student['max_tokens']} tokens of an essay; the paper's are ELECTRA and ModernBERT, all of whose layers are trained.",
    ]
    if "frozen" in student["heads"]:
        lines.append(
            "**Length.** The frozen Student is told how many tokens it read, so essays beyond its limit look equally long to it; "
            "ridge on words, the Teacher's regression and *the essays' length alone* see the whole length."
        )
    if "repeat_draws" in study.extras:
        draws = study.section("repeat_draws")["draws"]
        lines.append(f"**Draws.** {draws} draws of the human scores for each share; the paper reports one.")
    return lines


def page(profile: str) -> str:
    """Verdicts, what differs, and what would change them, as Markdown."""
    table = verdicts(profile)
    counts = ", ".join(f"{count} {name}" for name in (YES, NO, OPEN, WAITING) if (count := int((table["verdict"] == name).sum())))
    lines = [f"Of {len(table)} claims: **{counts}**.", ""]
    if (table["verdict"] == WAITING).all():
        lines = [
            f"**Nothing is decided yet**: the study `{profile}` has no results here, and every claim waits for its notebook."
        ]
        lines += [""]
    lines += ["| the paper's claim | here | verdict | notebook |", "|---|---|---|---|"]
    lines += [f"| {row.claim} | {row.here} | **{row.verdict}** | {row.notebook[:2]} |" for row in table.itertuples()]
    lines += ["", "### What differs from the paper", "", *(f"- {line}" for line in differs(profile))]
    lines += ["", "### What would change a verdict", ""]
    return "\n".join([*lines, *(f"- *{row.claim.replace('*', '')}*: {row.change}." for row in table.itertuples())])
