"""Sentences of 05 and 06: they claim what their tables show, and no more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.study import agreement, agreement_in_words, bias, bias_in_words

PAIR = {"fraction": 0.1, "n_human": 451, "n_dev": 271, "prompt_low": np.nan, "prompt_high": np.nan, "p_settled": True}
PAIR |= {"student": "s", "head": "h", "seeds": 3, "p": 0.001, "p_holm": 0.004, "margin": 0.05}
ONE = {"student": "s", "head": "h"}


def pair(system: str, baseline: str, difference: float, low: float, high: float, **other: object) -> dict[str, object]:
    """One row of `agreement.comparisons`."""
    ends = {
        "tost_low": low,
        "tost_high": high,
        "p_tost_holm": 0.2,
        "equivalence": "undecided",
        "qwk": 0.6 + difference,
        "qwk_baseline": 0.6,
    }
    return PAIR | {"system": system, "baseline": baseline, "difference": difference, "low": low, "high": high} | ends | other


GAINED = pair("cyborg", "human", 0.1, 0.05, 0.15)
BOUND = pair("cyborg", "full", -0.01, -0.03, 0.01, equivalence="equivalent")
FULL = pair("full", "human", 0.08, 0.05, 0.15)


def gain(*rows: dict[str, object]) -> str:
    return agreement_in_words.gain(pd.DataFrame(rows), margin=0.05, **ONE)


def test_a_gain_is_told_with_its_interval_p_and_equivalence():
    text = gain(GAINED, BOUND, FULL)
    assert "**10% of X, 451 human scores (180 + 271 for development)** (`full` is +0.080 from `human`)" in text
    assert (
        "agrees better with people than `human`: +0.100 [+0.050, +0.150], **beyond chance** (p = 0.001, corrected 0.004)" in text
    )
    assert "it is **comparable to** all human scores (-0.010 [-0.030, +0.010], margin 0.05, corrected p 0.200)." in text
    assert "The margin is 62% of all there is to win here" in text
    assert "The margin is" not in gain(GAINED, BOUND, FULL | {"difference": 0.2})
    worse = BOUND | {"equivalence": "equivalent, and worse"}
    assert "it is **comparable to** all human scores (and worse) (-0.010" in gain(GAINED, worse, FULL)
    near = GAINED | {"prompt_low": 0.02, "prompt_high": 0.18, "p_settled": False}
    assert "; over prompts [+0.020, +0.180]; p is too near its limit to be told from it" in gain(near, BOUND, FULL)
    fair = pair("cyborg", "human+dev", 0.02, -0.01, 0.05, p_holm=0.3)
    assert "Against `human+dev`, which learned from all of these human scores: +0.020 [-0.010, +0.050], not" in gain(GAINED, fair)


def test_other_students_are_told_with_each_baseline():
    other = {"student": "t", "qwk": 0.7, "qwk_baseline": 0.69}
    none = pair("cyborg", "human", 0.01, -0.01, 0.03, p_holm=0.9) | other
    fair = pair("cyborg", "human+dev", -0.02, -0.04, 0.0, p_holm=0.9) | other | {"qwk_baseline": 0.72}
    rows = pd.DataFrame([GAINED, BOUND, none, fair, FULL | other])
    (line,) = agreement_in_words.other_students(rows, **ONE).splitlines()
    assert line.startswith(
        "- 10% of X, t, h head: `cyborg` 0.700, over `human` 0.690 +0.010 [-0.010, +0.030], not beyond chance (p ="
    )
    assert "; over `human+dev` 0.720 -0.020 [" in line
    assert agreement_in_words.other_students(rows[:2], **ONE) == ""


def test_the_same_number_of_human_scores_without_a_teacher():
    columns = ["fraction", "n_human", "n_dev", "labels", "student", "head", "qwk", "low", "high"]
    rows = [(0.1, 451, 271, "cyborg", "s", "h", 0.65, 0.6, 0.7), (0.1, 451, 271, "human", "s", "h", 0.55, 0.5, 0.6)]
    rows += [(0.25, 721, 271, "human", "s", "h", 0.61, 0.5, 0.6), (0.25, 721, 271, "cyborg", "s", "h", 0.66, 0.5, 0.7)]
    table = pd.DataFrame(rows, columns=columns)
    text = agreement_in_words.same_price(table, **ONE)
    assert "451 human scores (180 + 271 for development): `cyborg` 0.650; a Student on 450 human scores (`human` at 25%)" in text
    assert "**+0.040**" in text and len(text.splitlines()) == 1
    assert "(`human+dev` was not run)" in agreement_in_words.same_price(table[:2], **ONE)
    both = pd.concat([table[:2], table[1:2].assign(labels="human+dev", qwk=0.64)], ignore_index=True)
    assert "a Student on 451 human scores (`human+dev` at 10%) 0.640" in agreement_in_words.same_price(both, **ONE)


def test_a_claim_is_robust_only_where_every_measure_shows_it():
    columns = ["fraction", "labels", "measure", "gap_closed", "low", "high", "resolved"]
    rows = [(0.1, "cyborg", "QWK, matched", 0.85, 0.7, 1.1, True), (0.1, "cyborg", "r", 0.6, 0.2, 0.9, True)]
    text = agreement_in_words.by_measure(pd.DataFrame(rows, columns=columns))
    assert "QWK, matched 85%, r 60%; shown by 2 of 2 measures. **robust**" in text
    rows[1] = (0.1, "cyborg", "r", np.nan, np.nan, np.nan, False)
    assert "shown by 1 of 2 measures. **hangs" in agreement_in_words.by_measure(pd.DataFrame(rows, columns=columns))
    assert "by none of 1 measures" in agreement_in_words.by_measure(pd.DataFrame(rows[1:], columns=columns))


@pytest.mark.parametrize(
    "change, told",
    [
        ({"p_holm": 0.06}, "not beyond chance (p = 0.001, corrected 0.060)"),
        ({"low": -0.01}, "beyond chance for these models, though 3 seeds say little of others"),
        ({"seeds": 1, "p": 0.0001}, "**beyond chance** (p < 0.001, corrected 0.004, one seed)"),
        ({"difference": -0.1, "low": -0.2, "high": -0.05}, "agrees worse with people than `human`: -0.100"),
    ],
)
def test_a_gain_is_beyond_chance_only_where_p_and_interval_say_so(change, told):
    assert told in gain(GAINED | change)


@pytest.mark.parametrize(
    "row, told",
    [
        (pair("teacher", "human", 0.05, 0.01, 0.09), "**The condition holds**"),
        (pair("teacher", "human", -0.05, -0.09, -0.01), "**The condition does not hold**"),
        (pair("teacher", "human", 0.05, 0.01, 0.09, p_holm=0.2), "**It is not decided**"),
        (pair("teacher", "human", 0.05, -0.01, 0.09), "**It is not decided**"),
    ],
)
def test_the_condition_needs_p_and_an_interval_that_leaves_out_0(row, told):
    text = agreement_in_words.condition(pd.DataFrame([row, GAINED]), **ONE)
    assert told in text and ("Yet `cyborg`" in text) == (row["difference"] < 0)


def test_without_a_teacher_nothing_is_said_of_the_condition():
    assert "nothing can be said" in agreement_in_words.condition(pd.DataFrame([GAINED]), **ONE)


def test_no_share_is_quoted_of_a_gap_that_is_not_shown():
    columns = ["fraction", "n_human", "n_dev", "student", "head", "labels", "seeds", "gap_closed", "low", "high", "gap"]
    columns += ["gap_low", "gap_high", "resolved"]
    rows = [(0.1, 451, 271, "s", "h", "cyborg", 3, 0.85, 0.68, 1.05, 0.12, 0.08, 0.16, True)]
    rows.append((0.25, 721, 271, "s", "h", "cyborg", 1, 3.0, np.nan, np.nan, 0.01, -0.02, 0.04, False))
    text = agreement_in_words.gap_closed(pd.DataFrame(rows, columns=columns), **ONE)
    assert (
        "- 10%, 451 human scores (180 + 271 for development), cyborg: **85%** of the gap [68%, 105%]" in text
        and "300%" not in text
    )
    assert "cyborg: no share to quote, the gap itself is not shown (+0.010 [-0.020, +0.040]), one seed" in text
    assert "no arm `full`" in agreement_in_words.gap_closed(pd.DataFrame(columns=columns), **ONE)


def test_the_noise_of_seeds_is_counted_or_called_unmeasured():
    several = pd.DataFrame({"seed_sd": [0.03, 0.01], "test_sd": [0.02, 0.02]})
    assert "In **1** of these 2 arms" in agreement_in_words.seed_noise(several)
    assert "**not measured**" in agreement_in_words.seed_noise(several[:0])


def test_what_cannot_be_answered_is_listed_up_to_the_margin():
    columns = ["essays", "n", "pair", "question", "size", "power", "answerable"]
    rows = [
        ("all", 200, "cyborg - human", "detect", 0.02, 0.2, False),
        ("gender: F", 90, "cyborg - full", "detect", 0.1, 0.3, False),
    ]
    rows.append(("gender: F", 90, "cyborg - human", "detect", 0.05, 0.4, False))
    text = agreement_in_words.unanswerable(pd.DataFrame(rows, columns=columns), margin=0.05)
    assert "- all (200), cyborg - human: detect 0.02 (chance 20%)" in text and "0.1 " not in text
    assert "- gender: F essays (90), cyborg - human: detect 0.05 (chance 40%)" in text
    assert (
        agreement_in_words.unanswerable(pd.DataFrame(columns=columns).astype({"answerable": bool}), margin=0.05)
        == "All can be answered."
    )


WHERE = {"fraction": 0.1, "labels": "cyborg", **ONE}


def models(*rows: tuple[str, int, int, int, str]) -> pd.DataFrame:
    """Rows of `bias.model_or_method` of one arm with two judged groups."""
    columns = ["speaks_of", "biased", "not_biased", "undecided", "biased_groups"]
    return pd.DataFrame(rows, columns=columns).assign(judged=2, **WHERE).astype(dict.fromkeys(columns[1:4], "Int64"))


FAIR = (bias.METHOD, 0, 0, 2, "")


@pytest.mark.parametrize(
    "rows, told, both",
    [
        (
            [FAIR, ("seed 1", 1, 0, 1, "ell = Yes (-0.31)"), ("seed 2", 0, 1, 1, "")],
            "seed 1: 1 biased (ell = Yes (-0.31)); seed 2: none biased.",
            True,
        ),
        ([FAIR, ("seed 1", 0, 0, 2, "")], "the method: of 2 groups none biased, 0 not, 2 undecided. As trained", False),
        (
            [(bias.METHOD, None, None, None, bias.ONE_SEED), ("seed 1", 1, 0, 1, "ell = Yes (-0.31)")],
            f"the method: {bias.ONE_SEED}. As trained: seed 1: 1 biased",
            False,
        ),
        (
            [(bias.METHOD, 1, 0, 1, "ell = Yes (-0.3)"), ("seed 1", 1, 0, 1, "ell = Yes (-0.3)")],
            "1 biased (ell = Yes (-0.3)), 0 not, 1 undecided",
            False,
        ),
    ],
)
def test_a_model_and_the_method_are_two_statements(rows, told, both):
    text = bias_in_words.model_or_method(models(*rows), confidence=0.95)
    assert told in text and ("**Both are right**" in text) == both


def test_biased_groups_are_set_beside_those_by_chance():
    text = bias_in_words.model_or_method(
        models(FAIR, ("seed 1", 0, 0, 2, ""), ("seed 2", 2, 0, 0, "x")).assign(judged=20), confidence=0.95
    )
    assert (
        "of all 20 groups just the limit, 0.5 of them" in text and "1.0 in the 2 trained models together; here it is 2." in text
    )
    assert "nothing is judged" in bias_in_words.model_or_method(models(FAIR).assign(judged=0), confidence=0.95)


RIVAL = {"labels": "cyborg", "fraction": 0.1, "chosen": True, "difference": 0.02, "low": -0.01, "high": 0.05}
GAP = {"labels": "cyborg", "fraction": 0.1, "resolved": True, "gap_closed": 0.85, "low": 0.68, "high": 1.05} | ONE


@pytest.mark.parametrize(
    "change, told",
    [({}, "beyond chance (3 seeds)."), ({"p_holm": 0.2}, "which may be chance"), ({"low": -0.01}, "which may be chance")],
)
def test_05_in_short_needs_p_and_interval_and_names_rival_and_gap(change, told):
    tables = [pd.DataFrame([row]) for row in (GAINED | change, RIVAL, GAP)]
    text = agreement_in_words.in_short(*tables, fraction=0.1, **ONE)
    assert text.startswith("With 451 human scores (180 + 271 for development) QWK goes from 0.600 to 0.700 on Cyborg Data, +0.1")
    assert told in text and "buy without a Teacher, +0.020 [-0.010, +0.050] is left." in text
    assert text.endswith("Cyborg Data closes 85% [68%, 105%] of the gap from few to all human scores.")
    none = [tables[0], tables[1].assign(chosen=False), tables[2].assign(resolved=False)]
    assert not {"rival", "closes"} & set(agreement_in_words.in_short(*none, fraction=0.1, **ONE).split())
    assert "no Student on Cyborg Data" in agreement_in_words.in_short(*tables, fraction=0.25, **ONE)


def test_06_in_short_counts_groups_for_the_method_and_trained_models():
    rows = [FAIR, ("seed 1", 1, 0, 1, "ell = Yes (-0.31)"), ("seed 2", 0, 1, 1, "")]
    assert bias_in_words.in_short(models(*rows)) == (
        "Cyborg, the method: of 2 groups none biased, 0 not, 2 undecided. Of 2 trained models 1 treat some group differently."
    )
    one = models((bias.METHOD, None, None, None, bias.ONE_SEED), rows[1])
    assert "from one seed nothing can be said. Of 1 trained models 1" in bias_in_words.in_short(one)
    for none in (models(*rows).assign(judged=0), models(*rows).assign(labels="human")):
        assert "nothing is judged here" in bias_in_words.in_short(none)


GROUPS = pd.DataFrame(
    [
        ("cyborg", "all", "all", 0.1, "biased"),
        ("cyborg", "ell", "Yes", -0.31, "biased"),
        ("cyborg", "ell", "No", 0.02, "not biased"),
        ("cyborg", "grade", "9", 0.5, "too few"),
    ],
    columns=["labels", "attribute", "group", "smd", "verdict"],
).assign(verdict_method=lambda rows: rows["verdict"], **ONE)


def test_crossed_groups_are_counted_by_their_verdicts_and_small_ones_are_not():
    text = bias_in_words.crossed(GROUPS[1:], min_group=10, confidence=0.95)
    assert text == (
        "Of 2 crossed groups of 10 essays or more, 1 are biased: ell = Yes (-0.31); 1 are not, 0 cannot be told. "
        "By chance alone 0.1 would be called biased, were every |SMD| just the limit."
    )
    alone = bias_in_words.crossed(GROUPS[1:].assign(verdict_method=bias.ONE_SEED), min_group=10, confidence=0.95)
    assert alone == f"{text} These verdicts are on one trained model; a claim about the method cannot be said from one seed."


def over_prompts(low: float, high: float, count: int = 7) -> pd.DataFrame:
    rows = GROUPS.assign(smd_low=GROUPS["smd"] - 0.2, smd_high=GROUPS["smd"] + 0.2, limit=0.1, prompts=count)
    return rows.assign(smd_prompt_low=GROUPS["smd"] + low, smd_prompt_high=GROUPS["smd"] + high)


def test_intervals_over_prompts_are_set_beside_those_over_essays():
    confounded = pd.DataFrame({"attribute": ["grade", "ell"], "cramers_v": [0.53, 0.02]})
    text = bias_in_words.prompts(over_prompts(-0.3, 0.3), confounded)
    assert "answer 7 prompts" in text and "1.50 times as long (median), and 2 of 2 verdicts change" in text
    assert "Cyborg, ell Yes: biased → undecided; Cyborg, ell No: not biased → undecided." in text
    assert "**`grade` is confounded with prompts**" in text and "grade 0.53, ell 0.02. From 0.3 on" in text
    none = bias_in_words.prompts(over_prompts(-0.2, 0.2), confounded[1:])
    assert "None is confounded" in none and "1 of 2 verdicts change" in none  # the table's "not biased" was set by hand
    one = bias_in_words.prompts(over_prompts(np.nan, np.nan, count=1), confounded)
    assert one.startswith("All essays answer one prompt")


def test_matching_is_told_by_what_it_did_to_the_worst_group():
    rows = [
        ("all", "all", 90, -0.4, 0.1, -0.3, -0.4, -0.2, "better"),
        ("ell", "Yes", 30, -0.15, -0.4, 0.25, 0.01, 0.56, "worse"),
        ("ell", "No", 60, 0.3, 0.1, -0.2, -0.3, -0.1, "better"),
    ]
    columns = ["attribute", "group", "n", "smd_before", "smd", "change", "change_low", "change_high", "effect"]
    table = pd.DataFrame(rows, columns=columns).assign(**WHERE)
    text = bias_in_words.matching(table, confidence=0.95)
    assert "SMD of all essays -0.40 → +0.10; worst group afterwards ell Yes (n = 30), |SMD| 0.15 → 0.40" in text
    assert "paired change +0.25 [+0.01, +0.56]: **worse**. Of 2 groups 1 better off beyond chance and 1 worse (0.1 either" in text
    assert bias_in_words.matching(table[:1], confidence=0.95).endswith("-0.40 → +0.10.")


def test_the_scope_counts_all_human_scores_that_were_paid_for():
    raters = pd.DataFrame({"essay_id": ["a", "b"], "fraction": [0.1, 1.0], "n_human": [451, 2_071]})
    text = bias_in_words.scope(raters, ["groups.ell"], fraction=0.1, student="s")
    assert "**451** human scores (U, 10% of the training essays, and the development split)" in text and text.endswith(
        "groups: ell."
    )
    assert "names no writer groups" in bias_in_words.scope(raters, [], fraction=0.1, student="s")


@pytest.mark.parametrize("student, told", [(-0.3, "**The Student takes over"), (0.3, "No shift to speak of"), (0.04, "No shift")])
def test_a_shift_is_taken_over_only_in_the_teachers_direction(student, told):
    stages = pd.DataFrame({"stage": ["Teacher on the pool", "human", "cyborg"], "smd": [-0.2, 0.0, student], "attribute": "all"})
    assert told in bias_in_words.taken_over(stages)
    assert "No shift" in bias_in_words.taken_over(stages.assign(smd=[-0.01, 0.0, student]))  # the Teacher has none


@pytest.mark.parametrize(
    "low, high, told",
    [
        (-0.2, -0.1, "**stricter than** people"),
        (0.1, 0.2, "**more lenient than**"),
        (-0.1, 0.1, "**not shown to differ in mean from**"),
    ],
)
def test_the_teacher_is_strict_only_beyond_chance(low, high, told):
    row = {"fraction": 0.1, "arm": "teacher", "essays": "pool", "shift": 0.0, "shift_low": low, "shift_high": high}
    row |= {"machine_top": 0.01, "human_top": 0.03, "ratio": 0.33, "ratio_low": 0.1, "ratio_high": 0.9}
    text = bias_in_words.high_scores(pd.DataFrame([row]), fraction=0.1, n_human=451)
    assert (
        text.startswith("With 451 human scores the Teacher is")
        and told in text
        and "pool: 1.0% instead of 3.0%, ratio 0.33 [0.10, 0.90]: suppressed" in text
    )


def test_what_leaves_out_0_is_counted_beside_chance():
    columns = ["attribute", "group", "n", "labels", "gap", "gap_low", "gap_high"]
    rows = [("ell", "Yes", 30, "cyborg", -0.4, -0.6, -0.2)] + [("ell", "No", 30, "cyborg", 0.0, -0.1, 0.1)] * 19
    text = bias_in_words.against_truth(pd.DataFrame(rows, columns=columns), confidence=0.95)
    assert text.startswith("Of 20 intervals about 1 leave out 0 by chance alone; here 1 do: ") and "ell Yes -0.40" in text


def test_thresholds_are_judged_without_a_second_rater_too():
    table = pd.DataFrame(
        [
            {
                "labels": "full",
                **ONE,
                "seeds": 1,
                "n": 90,
                "qwk": 0.8,
                "low": 0.7,
                "high": 0.9,
                "r": 0.8,
                "smd": 0.05,
                "sd_ratio": 1.0,
            }
        ]
    )
    met = bias.threshold_table(table, people=float("nan"))
    assert met["misses"].item() == "none" and "Two people" not in bias_in_words.thresholds(met, people=float("nan"))
    missed = bias.threshold_table(table.assign(smd=0.3), people=0.95)
    assert missed["misses"].item() == "below people, SMD"
    assert bias_in_words.thresholds(missed, people=0.95).endswith("Two people agree with QWK 0.950 on these test essays.")


def test_gaps_to_the_truth_are_those_that_were_planted():
    rng = np.random.default_rng(1)
    true = rng.uniform(1, 6, 400)
    group = np.where(np.arange(400) % 2 == 0, "Yes", "No")
    value = 2 + 0.5 * true + np.where(group == "Yes", -0.3, 0.3) + rng.normal(0, 0.1, 400)
    frame = pd.DataFrame(
        {"essay_id": np.arange(400), "true_score": true, "matched_value": value, "groups.ell": group, "labels": "cyborg"}
    )
    table = bias.truth_table(frame, groups=["groups.ell"], confidence=0.95).set_index("group")
    assert table["gap"].round(1).to_dict() == {"No": 0.3, "Yes": -0.3} and (table["gap_low"] < table["gap"]).all()
    assert bias.truth_table(frame.assign(true_score=np.nan), groups=["groups.ell"], confidence=0.95).empty
    assert bias.truth_table(frame, groups=[], confidence=0.95).empty
    other = frame.assign(seed=2, matched_value=2 + 0.5 * true + rng.normal(0, 0.1, 400))
    seeds = bias.truth_by_seed(pd.concat([frame.assign(seed=1), other]), groups=["groups.ell"], confidence=0.999)
    assert seeds.groupby("seed")["gap"].max().round(1).to_dict() == {1: 0.3, 2: 0.0}
    assert bias_in_words.each_student(seeds) == (
        "Each of 2 Students on Cyborg Data alone, intervals that leave out 0. ell: Yes too few points in 1, No too many in 1."
    )
    nobody = bias.truth_by_seed(frame.assign(seed=1, labels="full"), groups=["groups.ell"], confidence=0.95)
    assert nobody.empty and bias_in_words.each_student(nobody) == ""


def test_each_seed_alone_is_compared_and_counted():
    rng = np.random.default_rng(1)
    human = rng.integers(0, 6, 300)
    rows = [
        {"fraction": 0.1, "n_human": 60, "n_dev": 20, "student": student, "head": head, "labels": labels, "seed": seed}
        | {"essay_id": f"{at:03}", "human_level": level, "matched_level": int(np.clip(level + rng.normal(0, noise), 0, 5))}
        for student, head, labels, noises in [
            ("s", "frozen", "human", {1: 2.0, 2: 2.0}),
            ("s", "frozen", "cyborg", {1: 0.5, 2: 2.0}),
        ]
        for seed, noise in noises.items()
        for at, level in enumerate(human)
    ]
    table = agreement.seed_by_seed(pd.DataFrame(rows), resamples=2000, confidence=0.95, seed=1)
    assert table["seed"].tolist() == [1, 2] and table["baseline"].tolist() == ["human", "human"]
    assert table["p_holm"][0] < 0.01 < 0.05 < table["p_holm"][1] and table["low"][0] > 0.1
    text = agreement_in_words.each_seed(table, student="s", head="frozen")
    assert "10% of X, each of 2 seeds alone" in text and "beyond chance after correction in 1; least in seed 2" in text
    assert agreement_in_words.each_seed(table[:1], student="s", head="frozen") == ""
    alone = agreement.seed_by_seed(pd.DataFrame(rows[:300]), resamples=100, confidence=0.95, seed=1)
    assert alone.empty and agreement_in_words.each_seed(alone, student="s", head="frozen") == ""
