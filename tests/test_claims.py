"""A study trained again: an honest one passes, a real regression does not."""

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import baseline
from cyborg_utils.stats import metrics
from cyborg_utils.study import claims

HEADLINE = ("minilm", "regression")
SD = claims.noise()
QWK = {"human": 0.55, "cyborg": 0.65, "cyborg-soft": 0.66, "full": 0.68}
GROUPS = [("all", "all"), ("gender", "F"), ("gender", "M"), ("ell", "yes"), ("ell", "no")]


def study(rng, *, seeds=1, scale=1.0, drop=None):
    """Tables of a study whose arms have the measured noise (times `scale`); `drop` takes QWK off an arm of the first Student."""

    def noisy(value, kind, rater):
        return value + scale * SD[kind, rater] / np.sqrt(seeds) * rng.standard_normal()

    qwk, smd = [], []
    for student, rater in (("minilm", "student"), ("ridge", "ridge")):
        for labels, value in QWK.items():
            value -= (drop or {}).get(labels, 0) if student == "minilm" else 0
            qwk.append((1.0 if labels == "full" else 0.1, student, "regression", labels, noisy(value, "qwk", rater)))
    for reading, name in (("most likely", "teacher"), ("expected", "teacher-expected")):
        qwk.append((0.1, "teacher", reading, "teacher", noisy(0.6, "qwk", name)))
    columns = ["fraction", "student", "head", "labels", "qwk"]
    qwk = pd.DataFrame(qwk, columns=columns).assign(seeds=seeds)
    for row in qwk.itertuples():
        rater = claims.rater(row.student, row.head)
        for attribute, group in GROUPS:
            value = noisy(0.05, "smd" if attribute == "all" else "group smd", rater)
            smd.append((row.fraction, row.student, row.head, row.labels, "matched", attribute, group, value))
    smd = pd.DataFrame(smd, columns=[*columns[:4], "scores", "attribute", "group", "smd"]).assign(
        seeds=seeds, verdict="undecided"
    )
    pairs, gaps = [], []
    teacher = qwk[qwk["student"] == "teacher"].set_index("head")["qwk"]
    for student in ("minilm", "ridge"):
        own = qwk[qwk["student"] == student].set_index("labels")["qwk"]
        own = pd.concat([own, pd.Series({"teacher": teacher["most likely"], "teacher-expected": teacher["expected"]})])
        named = [("cyborg", "human"), ("cyborg-soft", "human"), ("full", "human"), ("cyborg", "full"), ("teacher", "human")]
        for system, other in named:
            pairs.append((0.1, student, "regression", system, other, own[system] - own[other]))
        for labels in ("cyborg", "cyborg-soft"):
            gained, gap = own[labels] - own["human"], own["full"] - own["human"]
            gaps.append((0.1, student, "regression", labels, gained / gap, gained, gap))
    pairs = pd.DataFrame(pairs, columns=["fraction", "student", "head", "system", "baseline", "difference"])
    gaps = pd.DataFrame(gaps, columns=["fraction", "student", "head", "labels", "gap_closed", "gained", "gap"])
    pairs, gaps = pairs.assign(seeds=seeds, p_holm=1.0, equivalence="undecided"), gaps.assign(seeds=seeds, resolved=True)
    tables = {"qwk": qwk, "comparisons": pairs, "gap_closed": gaps, "smd": smd}
    return claims.of_tables(tables, SD, headline=HEADLINE)


def alarms(committed, here):
    table = claims.compared(committed, here)
    return table.loc[~table["ok"], "claim"].tolist()


@pytest.mark.slow
def test_an_honest_retraining_alarms_at_most_as_often_as_is_stated():
    """400 pairs of trainings that differ by the measured noise, each of 100 in eight pairs. 5 % are 20 alarms."""
    rng = np.random.default_rng(1)
    trained = [study(rng, seeds=1 + 2 * (at % 2)) for at in range(100)]
    pairs = [(at, (at + 2 * step) % 100) for at in range(100) for step in range(1, 5)]  # of as many seeds
    assert sum(bool(alarms(trained[first], trained[second])) for first, second in pairs) <= 20
    loud = [study(rng, scale=3) for _ in range(11)]
    assert sum(bool(alarms(*both)) for both in zip(loud, loud[1:], strict=False)) >= 9  # the limits are not too wide to see that


def test_a_tenth_of_the_steps_is_caught():
    """Teachers whose training was measured epoch by epoch (results/*/tables/table_teacher_dev*): QWK 0 to 0.16 after the first
    tenth to fifth of their steps instead of 0.59 and more. A Student that lost a third of that is caught as well.
    """
    rng = np.random.default_rng(1)
    for drop in (0.45, 0.15):
        caught = [alarms(study(rng), study(rng, drop={"cyborg": drop})) for _ in range(5)]
        assert all("QWK, 10% cyborg (minilm, regression)" in claims for claims in caught)


def test_shuffled_targets_are_caught():
    """Real code, the classical Student: essays whose length tells the score; targets right, twice, then shuffled."""
    rng, scale = np.random.default_rng(1), Scale(1, 6, 1)
    scores = rng.integers(1, 7, 400).astype(float)
    words = ["well", "good", "essay", "reason", "because", "however", "town", "people"]
    texts = [" ".join(rng.choice(words, size=int(20 * score + rng.integers(0, 40)))) for score in scores]

    def trained(targets):
        learner = baseline.train(pd.DataFrame({"text": texts[:300], "value": targets[:300]}))
        level = scale.nearest(learner.predict(texts[300:]))
        return metrics.qwk(scale.level(scores[300:]), level, levels=scale.size)

    def told(value):
        table = pd.DataFrame(
            {"fraction": [0.1], "student": "ridge", "head": "regression", "labels": "human", "qwk": value, "seeds": 1}
        )
        empty = {
            "comparisons": pd.DataFrame(),
            "gap_closed": pd.DataFrame({"resolved": pd.Series(dtype=bool)}),
            "smd": pd.DataFrame(columns=["scores", "head", "labels"]),
        }
        return claims.of_tables({"qwk": table, **empty}, SD, headline=HEADLINE)

    right, shuffled = trained(scores), trained(rng.permutation(scores))
    assert alarms(told(right), told(trained(scores))) == []
    assert alarms(told(right), told(shuffled)) == ["QWK, 10% human (ridge, regression)"]


def test_a_verdict_that_flips_within_its_limit_is_shown_and_is_no_alarm():
    committed = study(np.random.default_rng(1))
    here = committed.assign(verdict=committed["verdict"].replace("undecided", "biased"))
    table = claims.compared(committed, here)
    assert table["ok"].all() and (table["verdict"] == "undecided -> biased").any()
    assert "undecided -> biased" in claims.shown(table)


def test_a_claim_that_is_gone_is_an_alarm_unless_it_is_a_share_of_no_gap():
    committed = study(np.random.default_rng(1))
    assert alarms(committed, committed[committed["kind"] != "gap closed"]) == []
    assert len(alarms(committed, committed[committed["kind"] != "difference"])) == 10


def test_limits_follow_the_formula():
    committed = study(np.random.default_rng(1))
    table = claims.compared(committed, committed).set_index("claim")
    z = claims.stats.norm.isf(0.05 / (2 * len(committed)))
    assert table.loc["QWK, 10% human (minilm, regression)", "limit"] == pytest.approx(z * SD["qwk", "student"] * 2**0.5)
    pair = table.loc["difference, 10% teacher - human (minilm, regression)", "limit"]
    assert pair == pytest.approx(z * (2 * (SD["qwk", "student"] ** 2 + SD["qwk", "teacher"] ** 2)) ** 0.5)


def test_other_test_essays_are_refused(tmp_path):
    for name, score in (("a", 3), ("b", 4)):
        (tmp_path / name / "scores").mkdir(parents=True)
        frame = pd.DataFrame({"essay_id": ["1"], "split": ["test"], "score": [score]})
        frame.to_csv(tmp_path / name / "scores" / "essays.csv", index=False)
    with pytest.raises(CyborgError, match="its test essays are not the committed ones"):
        claims.held(tmp_path / "a", tmp_path / "b", None, SD)
