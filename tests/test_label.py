"""`cyborg label`: what a person with a table gets, each promise of the page, and tables that are too small for one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora, simulated
from cyborg_utils.extensions.labelling import asked, essays, label, machines, page, plan, promises, report, words
from cyborg_utils.extensions.labelling.found_out import Columns
from cyborg_utils.extensions.labelling.machines import STUDENT, TEACHER
from cyborg_utils.extensions.scoring import predict
from cyborg_utils.models import states
from cyborg_utils.models.frozen import PENALTIES, ridge
from cyborg_utils.run import cli, workflow
from cyborg_utils.stats import selective

FAST = report.Settings(resamples=200, draws=1)
PLAN = plan.Plan(None, plan.STUDENT, 1.0)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.DataFrame(simulated.essays(300, 5))


def some(rows: pd.DataFrame, scored: int, *, seed: int = 1) -> essays.Essays:
    """All rows, of which so many keep their score."""
    kept = np.random.default_rng(seed).permutation(len(rows))[:scored]
    frame = rows[["essay_id", "text", "assignment", "score", "groups.ell_status"]].assign(copy=np.arange(len(rows)))
    return essays.Essays(frame.assign(score=rows["score"].where(np.isin(np.arange(len(rows)), kept))), Scale(1, 6), "marks.csv")


def features(given: essays.Essays, rows: pd.DataFrame, *, noise: float = 0.6, seed: int = 1) -> dict[str, np.ndarray]:
    """Feature blocks without any model: noisy views of the true score, as a good Teacher and a poorer encoder would have."""
    rng, true = np.random.default_rng(seed), rows["true_score"].to_numpy()
    views = {"teacher": (30, 1.5), "states": (20, 2.5), "words": (20, 4.0), "statistics": (4, 2.0), "length": (1, 2.0)}
    return {name: true[:, None] + noise * spread * rng.normal(size=(len(true), width)) for name, (width, spread) in views.items()}


def table(folder: Path, rows: pd.DataFrame, scored: int, name: str = "marks.csv") -> Path:
    """A person's file: some scored, the rest blank."""
    frame = rows.rename(columns={"essay_id": "name", "text": "essay", "groups.ell_status": "ell"})[
        ["name", "essay", "score", "ell"]
    ]
    kept = np.random.default_rng(1).permutation(len(frame))[:scored]
    frame = frame.assign(score=frame["score"].where(np.isin(np.arange(len(frame)), kept)))
    target = folder / name
    frame.to_excel(target, index=False) if name.endswith("xlsx") else frame.to_csv(target, index=False)
    return target


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("name", ["marks.xlsx", "marks.csv"])
def test_columns_and_scale_are_found(tmp_path, rows, name):
    found = essays.read(table(tmp_path, rows, 60, name), Columns(groups=["ell"]))
    assert len(found.scored) == 60 and len(found.blank) == 240 and found.groups == ["groups.ell"]
    assert found.frame["text"].tolist() == rows["text"].str.strip().tolist()
    kept = found.frame["score"].dropna()
    assert (kept == rows["score"].loc[kept.index]).all() and found.scale == Scale(kept.min(), kept.max())
    assert "text 'essay', score 'score', id 'name'" in found.notes[0] and "--scale" in found.notes[1]
    assert found.columns.id == "name" and (found.frame["row"] == np.arange(2, 302)).all()  # row 1 names the columns
    assert essays.read(table(tmp_path, rows, 60, name), scale=[0, 10, 1]).scale == Scale(0, 10)


def test_faults_name_file_row_column_and_remedy(tmp_path, rows):
    frame = pd.read_csv(table(tmp_path, rows, 100))
    file = tmp_path / "odd.csv"
    frame.rename(columns={"score": "verdict"}).to_csv(file, index=False)
    with pytest.raises(CyborgError, match=r"odd.csv: no column was found for score. Give --score; there are name, essay"):
        essays.read(file)
    assert len(essays.read(file, Columns(score="verdict")).scored) == 100
    with pytest.raises(CyborgError, match="no column nobody; there are name, essay"):
        essays.read(file, Columns(score="nobody"))
    frame = frame.astype({"score": object})
    frame.loc[3, "score"], frame.loc[4, "essay"] = "see me", ""
    frame.to_csv(file, index=False)
    found = essays.read(file, Columns(groups=["ell"]), scale=[1, 6, 1])
    assert found.without["row"].tolist() == [6] and len(found.frame) == 299
    assert "1 row(s) get no score: row 6 (empty text)." in found.notes
    (told,) = [note for note in found.notes if "1 essay(s) count as not scored: row 5 (score 'see me' is not a number)." in note]
    assert "--condition-codes 'see me'" in told
    assert found.frame.loc[3, ["row", "essay_id"]].tolist() == [5, frame["name"][3]] and np.isnan(found.frame["score"][3])
    frame.loc[frame["score"].notna(), "score"] = np.where(frame["score"].dropna().astype(str) < "4", "C", "B")
    frame.to_csv(file, index=False)
    with pytest.raises(CyborgError, match="scores cannot be used, more than 10%.*--labels B=... C=... .or --condition-codes"):
        essays.read(file, scale=[1, 6, 1])
    words = essays.read(file, scale=[1, 6, 1], options={"labels": {"B": 5.0, "C": 4.0}})
    assert set(words.frame["score"].dropna()) == {4.0, 5.0}


def accidents(rows: pd.DataFrame) -> pd.DataFrame:
    """A teacher's table: a row pasted twice, and a score typed with a decimal comma."""
    frame = rows.rename(columns={"essay_id": "Pupil", "text": "Essay", "score": "Mark"})[["Pupil", "Essay", "Mark"]]
    frame = frame.assign(Class=np.tile(["7a", "7b", "7c"], len(rows))[: len(rows)], Mark=frame["Mark"].astype(object))
    frame.loc[100:, "Mark"] = None
    frame.loc[7, "Mark"] = f"{frame.loc[7, 'Mark']:.1f}".replace(".", ",")
    return pd.concat([frame.iloc[:50], frame.iloc[[20]], frame.iloc[50:]], ignore_index=True)


def test_the_usual_accidents_of_a_workbook_stop_nobody(tmp_path, rows):
    accidents(rows).to_excel(tmp_path / "marks.xlsx", index=False)
    found = essays.read(tmp_path / "marks.xlsx", scale=[1, 6, 1])
    assert found.columns.id == "Pupil" and len(found.scored) == 100 and len(found.frame) == 300
    assert found.frame["score"][7] == rows["score"][7]
    assert (
        found.without["row"].tolist() == [52]
        and f"stands already in {paths.shown(tmp_path / 'marks.xlsx')}, row 22" in found.notes[-2]
    )
    assert found.notes[-1] == "'Class' (7a, 7b, 7c) may name groups of writers. To compare them, add --groups Class."
    assert not any("--groups" in note for note in essays.read(tmp_path / "marks.xlsx", Columns(groups=["Class"])).notes)


def test_essays_are_called_by_their_row_where_no_column_tells_them_apart(tmp_path, rows):
    frame = accidents(rows).drop(columns="Pupil").drop(index=50)
    frame.to_excel(tmp_path / "marks.xlsx", index=False)
    found = essays.read(tmp_path / "marks.xlsx")
    assert found.frame["essay_id"].tolist() == [f"row {row}" for row in range(2, 302)] == [f"row {n}" for n in found.frame["row"]]
    assert any("No column tells the essays apart" in note for note in found.notes)


def test_several_essays_of_a_writer_stay_in_one_fold(tmp_path, rows):
    frame = accidents(rows).drop(index=50).reset_index(drop=True)
    frame["Name"] = [f"Ada {at // 3}" for at in range(300)]
    frame.drop(columns="Pupil").to_excel(tmp_path / "marks.xlsx", index=False)
    found = essays.read(tmp_path / "marks.xlsx")
    assert found.columns.writer == "Name" and found.frame["essay_id"].tolist()[:4] == ["Ada 0-1", "Ada 0-2", "Ada 0-3", "Ada 1-1"]
    assert (found.frame["copy"].to_numpy() == np.repeat(found.frame["copy"][::3], 3).to_numpy()).all()
    assert found.frame["copy"].nunique() == 100 and any("called by it and a number" in note for note in found.notes)


def test_a_writer_beside_an_id_keeps_the_essays_together(tmp_path, rows):
    frame = accidents(rows).drop(index=50).reset_index(drop=True).rename(columns={"Pupil": "Id"})
    frame["Student"] = [f"s{at // 3}" for at in range(300)]
    frame.to_csv(tmp_path / "marks.csv", index=False)
    for columns in (Columns(), Columns(writer="Student")):
        found = essays.read(tmp_path / "marks.csv", columns)
        assert (found.columns.id, found.columns.writer) == ("Id", "Student")
        assert found.frame["essay_id"].tolist() == frame["Id"].tolist() and found.frame["copy"].nunique() == 100
        assert any("100 writers wrote 300 essays" in note for note in found.notes)


def test_a_second_persons_scores_are_no_groups(tmp_path, rows):
    frame = pd.read_csv(table(tmp_path, rows, 100))
    steps = np.random.default_rng(1).integers(-1, 2, len(frame))
    frame = frame.assign(second=(frame["score"] + steps).clip(1, 6), age=10 + np.arange(len(frame)) % 5)
    frame.to_csv(tmp_path / "two.csv", index=False)
    notes = essays.read(tmp_path / "two.csv", scale=[1, 6, 1]).notes
    assert any("second may be another person's scores" in note and "raters: [score, second]" in note for note in notes)
    assert "--groups ell age." in notes[-1]
    wide = frame.assign(score=frame["score"] * 5, second=frame["second"] * 5)  # now ages lie on the scale too
    wide.to_csv(tmp_path / "two.csv", index=False)
    (told,) = [note for note in essays.read(tmp_path / "two.csv").notes if "person's scores" in note]
    assert "age" not in told


def test_prompts_with_scales_of_their_own_are_refused(tmp_path, rows):
    frame = pd.read_csv(table(tmp_path, rows, 200)).assign(prompt=np.repeat(["bus", "park"], 150))
    frame.loc[frame["prompt"] == "park", "score"] += 20
    frame.to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(CyborgError, match=r"scales of their own \(bus: [12] to 6; park: 2[12] to 26\).*own_scale.*--scale"):
        essays.read(tmp_path / "two.csv")
    assert essays.read(tmp_path / "two.csv", scale=[1, 26, 1]).scale == Scale(1, 26)
    with pytest.raises(CyborgError, match="score the essays of each in a table of its own") as told:
        essays.read(tmp_path / "two.csv", scale=[1, 6, 1])
    assert "prepare_data" not in str(told.value)


def test_letters_without_a_scale_are_told_by_their_words(tmp_path, rows):
    frame = pd.read_csv(table(tmp_path, rows, 100)).astype({"score": object})
    frame.loc[frame["score"].notna(), "score"] = np.where(frame["score"].dropna().astype(float) < 4, "C+", "B")
    frame.to_csv(tmp_path / "letters.csv", index=False)
    with pytest.raises(CyborgError, match=r"none of the scores is a number.*--labels B=... C\+=... .or --condition-codes B C\+"):
        essays.read(tmp_path / "letters.csv")
    assert essays.read(tmp_path / "letters.csv", options={"labels": {"B": 5.0, "C+": 3.0}}).scale == Scale(3, 5, 1)


def test_a_slip_does_not_stretch_the_scale(tmp_path, rows):
    frame = pd.read_csv(table(tmp_path, rows, 60))
    place = frame["score"].first_valid_index()
    frame.loc[place, "score"] = 55
    frame.to_csv(tmp_path / "marks.csv", index=False)
    with pytest.raises(CyborgError, match=rf"row {place + 2}, column score: 55, and all other scores lie between [12] and 6"):
        essays.read(tmp_path / "marks.csv")
    assert np.isnan(essays.read(tmp_path / "marks.csv", scale=[1, 6, 1]).frame["score"][place])


def test_the_scores_stand_in_the_order_of_the_table_with_every_row_of_it(tmp_path, rows):
    """So that a person can lay them beside the table."""
    frame = accidents(rows)
    frame.loc[10, "Essay"] = ""
    frame.to_excel(tmp_path / "marks.xlsx", index=False)
    found = essays.read(tmp_path / "marks.xlsx", scale=[1, 6, 1])
    scores = label.scores(report.make(found, features(found, rows.drop(index=10)), FAST), PLAN)
    assert scores["row"].tolist() == list(range(2, 303)) and scores["id"].tolist() == frame["Pupil"].tolist()
    lost = scores[scores["score"].isna()]
    assert lost["row"].tolist() == [12, 52] and lost["flags"].str.startswith("no score (").all() and lost["who"].isna().all()


@pytest.mark.parametrize("scored", [0, 5])
def test_too_few_scores_are_refused_with_the_essays_to_score_first(tmp_path, rows, scored):
    with pytest.raises(CyborgError, match=rf"{scored} of 300 essays are scored. At least 10 are needed") as told:
        essays.read(table(tmp_path, rows, scored))
    first = re.findall(r"sim5-\d+", str(told.value))
    blank = pd.read_csv(tmp_path / "marks.csv").query("score.isna()")
    assert len(set(first)) == 10 - scored and set(first) <= set(blank["name"])


def test_scores_that_are_alike_are_refused(tmp_path, rows):
    frame = pd.read_csv(table(tmp_path, rows, 30))
    for last in (3.0, 4.0):  # all alike; all but one
        frame["score"] = frame["score"].where(frame["score"].isna(), 3.0)
        frame.loc[frame["score"].last_valid_index(), "score"] = last
        frame.to_csv(tmp_path / "marks.csv", index=False)
        with pytest.raises(CyborgError, match="Nothing can be learned from scores that are alike"):
            essays.read(tmp_path / "marks.csv")


# ---------------------------------------------------------------- machines


@pytest.mark.parametrize(("n", "width"), [(12, 40), (60, 8), (30, 30)])
def test_ridge_is_that_of_scikit_learn(n, width):
    from sklearn.linear_model import RidgeCV

    rng = np.random.default_rng(n)
    given = rng.normal(size=(n, width)) * rng.lognormal(size=width)
    given, value = given - given.mean(axis=0), 3 + given[:, :2].sum(axis=1) + rng.normal(size=n)
    theirs = RidgeCV(alphas=PENALTIES, scoring="neg_mean_squared_error", store_cv_results=True).fit(given, value)
    weights, penalty, left_out = ridge(given, value)
    assert penalty == theirs.alpha_
    np.testing.assert_allclose(weights, theirs.coef_, atol=1e-10)
    np.testing.assert_allclose(left_out, theirs.cv_results_[:, list(PENALTIES).index(penalty)], atol=1e-9)


def test_nobody_judges_an_essay_that_it_learned_from(rows, monkeypatch):
    """Another score of one essay changes no guess of it, nor of its fold, and does change the others'."""
    given = some(rows, 60)
    found, place = features(given, rows), given.scored[7]
    fold = machines.cut(given)
    monkeypatch.setattr(machines, "cut", lambda *_, **__: fold)  # it follows the order of scores
    cross = machines.cross_fit(given, found)
    frame = given.frame.copy()
    frame.loc[place, "score"] = 6.0 if frame.loc[place, "score"] < 6 else 1.0
    changed = machines.cross_fit(replace(given, frame=frame), found)
    same = fold == fold[7]
    for name in cross.guess:
        np.testing.assert_allclose(cross.guess[name][same], changed.guess[name][same])
        assert not np.allclose(cross.guess[name][~same], changed.guess[name][~same])


def test_copies_share_a_fold_and_every_fold_has_every_kind_of_score(rows):
    given = some(rows, 100)
    twins = replace(given, frame=given.frame.assign(copy=np.arange(300) // 2))
    fold = machines.cut(twins)
    copy = twins.frame["copy"].to_numpy()[twins.scored]
    assert pd.Series(fold).groupby(copy).nunique().max() == 1
    means = pd.Series(given.frame["score"].to_numpy()[given.scored]).groupby(machines.cut(given)).mean()
    assert np.ptp(means) <= 0.6


def test_the_student_of_the_folder_is_the_one_that_was_judged(tiny_models, rows, tmp_path, monkeypatch):
    """What `cyborg score` gives the blank essays equals what the report says of them."""
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path))
    few = rows.head(60)
    given = some(few, 30)
    task = tiny(tiny_models)
    made = label.label(given, tmp_path / "out", task, name="tiny")
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    again = predict.Scorer(tmp_path / "out" / "student").score(few["essay_id"], few["text"])
    blank = given.blank
    level = given.scale.nearest(made.cross.final[STUDENT].match.apply(made.blank_guess[STUDENT]))
    line = made.judged[STUDENT].line
    scorer = predict.Scorer(tmp_path / "out" / "student")
    np.testing.assert_allclose(scorer.release.line.apply(made.blank_guess[STUDENT]), line.apply(made.blank_guess[STUDENT]))
    raw, _ = scorer.student.predict(few["text"].iloc[blank])
    np.testing.assert_allclose(raw, made.blank_guess[STUDENT], atol=0.05)
    assert len(again) == 60 and len(level) == len(blank) and len(scores) == 60
    card = (tmp_path / "out" / "student" / "README.md").read_text()
    assert "30 human scores" in card and "{{" not in card


def tiny(tiny_models, **wishes) -> label.Task:
    pupil = replace(plan.STUDENT, model=str(tiny_models["bert"]), max_tokens=40, epochs=1, min_steps=2)
    return label.Task(teachers=plan.candidates(str(tiny_models["qwen2"])), student=pupil, settings=FAST, **wishes)


# ---------------------------------------------------------------- promises


def test_the_guarantee_is_broken_no_more_often_than_stated(rows):
    """Over many choices of the scored essays, against the removed scores: one promise that the machine can keep for most essays,
    and one that lies at its true risk, where every bold promise is a broken one."""
    true, broken, made = rows["score"].to_numpy(), {0.42: 0, 0.53: 0}, {0.42: 0, 0.53: 0}
    for seed in range(30):
        given = some(rows, 100, seed=seed)
        found = features(given, rows, noise=1.2, seed=seed)
        cross = machines.cross_fit(given, found, folds=5)
        own, guess = promises.Judged.of(TEACHER, cross, given), cross.final[TEACHER].guess(found, given.blank)
        level = given.scale.nearest(cross.final[TEACHER].match.apply(guess))
        for value in made:
            wish = promises.Wish.of("exact", value, given.scale)
            kept = promises.guarantee(own, cross.guess[TEACHER], wish, sure=0.9)
            taken = own.doubt(guess, level, wish.risk) <= kept.made.threshold
            loss = selective.RISKS[wish.risk](given.scale.level(true[given.blank]) - level)
            made[value] += bool(kept.made.share)
            broken[value] += bool(taken.any() and loss[taken].mean() > wish.target)
    assert made[0.42] >= 10 and made[0.53] < made[0.42]
    assert all(count <= 6 for count in broken.values())  # 10 % of 30, and two standard errors more


@pytest.mark.parametrize(("scored", "needed"), [(30, True), (100, False)])
def test_too_few_scores_for_a_guarantee_are_told_with_how_many_it_takes(rows, scored, needed):
    given = some(rows, scored)
    made = report.make(given, features(given, rows, noise=0.3), FAST._replace(promise=("adjacent", 0.95)))
    told = words.guarantee(made)
    assert ("takes 59 human scores" in told and "there are 30" in told) == needed
    assert (made.guarantee.made.share > 0) != needed and ("may score" in told) != needed


@pytest.mark.parametrize("wish", [("adjacent", 1.2), ("error", -1.0), ("perfect", 0.5)])
def test_a_promise_that_makes_no_sense_is_refused(wish):
    with pytest.raises(CyborgError, match="give adjacent or exact"):
        promises.Wish.of(*wish, Scale(1, 6))


def test_a_mean_error_is_asked_for_in_points():
    wish = promises.Wish.of("error", 0.5, Scale(1, 5, 0.5))
    assert wish.target == 1.0 and wish.words == "a mean error of at most 0.5 points"


def test_means_of_the_collection_hold_however_bad_the_machine_is(rows):
    true, held, narrower = rows["score"].mean(), {0.6: [], 6.0: []}, {0.6: [], 6.0: []}
    for noise in held:
        for seed in range(40):
            given = some(rows, 60, seed=seed)
            cross = machines.cross_fit(given, features(given, rows, noise=noise, seed=seed), folds=5)
            row = promises.means(given, cross, confidence=0.9, min_group=10).iloc[0]
            held[noise].append(row["low"] <= true <= row["high"])
            narrower[noise].append((row["high"] - row["low"]) / (row["alone_high"] - row["alone_low"]))
    assert all(np.mean(one) > 0.78 for one in held.values())
    assert np.mean(narrower[0.6]) < 0.75 and 0.85 < np.mean(narrower[6.0]) < 1.1


def test_planted_slips_are_suspects_and_few_others(rows):
    given = some(rows, 150)
    found, rng = features(given, rows, noise=0.3), np.random.default_rng(3)
    clean = machines.cross_fit(given, found)
    judged = {name: promises.Judged.of(name, clean, given) for name in (TEACHER, STUDENT)}
    assert len(promises.suspects(judged, clean)) <= 3
    frame, changed = given.frame.copy(), rng.choice(given.scored, 6, replace=False)
    frame.loc[changed, "score"] = np.where(frame.loc[changed, "score"] <= 3, 6.0, 1.0)
    slipped = essays.Essays(frame, given.scale, given.source)
    cross = machines.cross_fit(slipped, found)
    judged = {name: promises.Judged.of(name, cross, slipped) for name in (TEACHER, STUDENT)}
    listed = set(given.scored[promises.suspects(judged, cross)["place"]])
    assert len(listed & set(changed)) >= 5 and len(listed - set(changed)) <= 3


def test_a_sample_that_was_picked_is_told(rows):
    long = rows["text"].str.split().str.len().sort_values().index[-60:]
    picked = some(rows, 60)
    frame = picked.frame.assign(score=rows["score"].where(rows.index.isin(long)))
    made = report.make(replace(picked, frame=frame), features(picked, rows), FAST)
    assert "The scored essays are not like the others" in words.sample(made)
    assert words.sample(report.make(picked, features(picked, rows), FAST)) == ""


# ---------------------------------------------------------------- tiny and odd tables


@pytest.mark.parametrize("scored", [10, 12, 30, 300])
@pytest.mark.parametrize("groups", [True, False])
def test_every_size_has_a_page(rows, scored, groups):
    given = some(rows, scored)
    if not groups:
        given = replace(given, frame=given.frame.drop(columns="groups.ell_status"))
    made = report.make(given, features(given, rows), FAST)
    text = page.render(made, files={}, done=["in a moment"])
    assert f"{scored} of 300 essays had a human score" in text and "nan" not in re.sub(r"base64,\S+", "", text)
    assert ("nothing is known about them" in text) != groups
    assert ("Every essay has a human score" in text) == (scored == 300)
    assert ("Too few scored essays for a learning curve" in text) == (scored < 25)
    given_scores = label.scores(made, PLAN) if scored != 300 else None
    if given_scores is not None:
        assert given_scores["score"].notna().all() and given_scores["who"].value_counts()["human"] == scored
        assert (given_scores["low"] <= given_scores["high"]).all()


def test_a_collection_without_blank_rows_is_judged(rows):
    given = some(rows, 300)
    made = report.make(given, features(given, rows), FAST)
    assert made.unlike.empty and not len(made.following) and made.agreement["qwk"].min() > 0.5
    assert made.means.iloc[0]["low"] == made.means.iloc[0]["high"] == pytest.approx(rows["score"].mean())


def test_a_page_without_a_language_model_does_not_speak_of_one(rows):
    given = some(rows, 60)
    found = features(given, rows)
    assert "The **Teacher**: a language model has read every essay" in words.terms(report.make(given, found, FAST))
    small = report.make(given, found | {"teacher": found["states"]}, FAST)
    assert "no language model" in words.terms(small) and "Teacher (language model)" not in page.render(small, files={}, done=[])


def test_a_forecast_is_an_agreement(rows):
    """Agreement is at most 1, whatever the curve through a few noisy points says."""
    given = some(rows, 30)
    made = report.make(given, features(given, rows, noise=2.0), FAST)
    assert made.curve is None or made.forecast[["low", "high"]].to_numpy().max() <= 1


def test_texts_on_the_page_are_escaped(rows):
    given = some(rows, 30)
    frame = given.frame.assign(essay_id=[f"<script>{at}</script>" for at in range(len(given.frame))])
    text = page.render(report.make(replace(given, frame=frame), features(given, rows), FAST), files={}, done=[])
    assert "<script>" not in text and "&lt;script&gt;" in text


# ---------------------------------------------------------------- the plan and the command


def test_the_plan_takes_what_fits_into_the_time_and_says_what_more_would_buy(tiny_models, rows, monkeypatch, tmp_path):
    teachers = [states.Reading(str(tiny_models["qwen2"]), (), tokens, True) for tokens in (40, 20)]
    pupil = replace(plan.STUDENT, model=str(tiny_models["bert"]), max_tokens=40)
    given, pace = some(rows, 30), iter([1e9, 1000.0, 1e9, 1000.0, 1e9, 1000.0])
    monkeypatch.setattr(states, "pace", lambda reading: next(pace))
    costs = [states.tokens(given.frame, one, template=plan.template_of(given.scale)) / 1000 for one in teachers]
    for minutes, chosen in ((1000.0, teachers[0]), (sum(costs) / 120, teachers[1]), (0.01, None)):
        made = plan.make(given, minutes=minutes, teachers=teachers, pupil=pupil, file=tmp_path / f"{minutes}.json")
        assert made.teacher == chosen and ("A longer run" in made.told(300)) == (chosen != teachers[0])
        assert plan.make(given, minutes=minutes, teachers=teachers, pupil=pupil, file=tmp_path / f"{minutes}.json") == made


def test_what_was_read_before_costs_no_time(tiny_models, rows, monkeypatch, tmp_path):
    """A second call with less time takes the Teacher whose states are there; a limit that no essay reaches is left out."""
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path))
    monkeypatch.setattr(states, "pace", lambda reading: 10.0)
    teachers = [states.Reading(str(tiny_models["qwen2"]), (), tokens, True) for tokens in (4000, 3000, 20)]
    pupil, given = replace(plan.STUDENT, model=str(tiny_models["bert"]), max_tokens=40), some(rows.head(40), 20)
    made = plan.make(given, minutes=0.01, teachers=teachers, pupil=pupil)
    assert [one.reading for one in made.candidates] == [teachers[0], teachers[2], None]
    states.of_essays(given.frame, teachers[0], template=plan.template_of(given.scale))
    states.of_essays(given.frame, states.Reading(pupil.model, (), 40))
    assert states.known(given.frame, teachers[0], template=plan.template_of(given.scale)).all()
    again = plan.make(given, minutes=0.01, teachers=teachers, pupil=pupil)
    assert again.teacher == teachers[0] and again.candidates[0].seconds == 0 and "read already  <- this one" in again.told(40)


def test_a_scale_of_101_scores_has_a_prompt():
    assert plan.template_of(Scale(0, 100)).scale.size == 11


def test_the_command_from_a_table_to_a_page(tiny_models, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "STUDENT", tiny(tiny_models).student)
    monkeypatch.setattr(label.Task, "student", plan.STUDENT, raising=False)
    monkeypatch.setattr(asked, "Task", lambda *a, **k: label.Task(*a, **k | {"student": tiny(tiny_models).student}))
    file = table(tmp_path, rows.head(80), 40, "marks.xlsx")
    command = ["label", str(file), "--scale", "1", "6", "1", "--groups", "ell", "--teacher", str(tiny_models["qwen2"])]
    cli.main(command)
    out, told = tmp_path / "marks_labelled", capsys.readouterr().out
    assert "Columns found" in told and "Guarantee" in told
    assert "marks_labelled/page.html: how good they are" in told and "marks_labelled/scores.xlsx: the scores" in told
    sheet, text = pd.read_excel(out / "scores.xlsx"), (out / "page.html").read_text()
    assert sheet["id"].tolist() == pd.read_excel(file)["name"].tolist()
    ready = "cyborg score NEW.xlsx --student marks_labelled/student --id name --text essay -o new_scores.csv"
    assert ready in text and ready in (out / "student" / "README.md").read_text()
    pd.read_excel(file).head(3).drop(columns="score").to_excel(tmp_path / "NEW.xlsx", index=False)
    cli.main(ready.split()[1:])
    assert pd.read_csv(tmp_path / "new_scores.csv")["id"].tolist() == sheet["id"].tolist()[:3]
    scores = pd.read_csv(out / "scores.csv")
    assert len(scores) == 80 and scores["score"].isin(range(1, 7)).all() and set(scores["who"]) <= set(label.WHO)
    assert (scores["human"].notna() == (scores["who"] == "human")).all() and scores["next"].notna().sum() == 20
    data = pd.read_csv(out / "cyborg_data" / "cyborg_data.csv")
    assert data["source"].value_counts().to_dict() == {"human": 40, "teacher": 40} and list(data) == [
        "id",
        "source",
        "value",
        "score",
    ]
    every = "".join(
        path.read_text(errors="ignore") for path in out.rglob("*") if path.suffix in (".csv", ".html", ".md", ".json")
    )
    assert not any(text[:60] in every for text in rows["text"])  # no essay leaves its table
    cli.main(command)  # the same folder again
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(SystemExit, match="holds something else"):
        cli.main([*command, "-o", str(tmp_path / "mine")])


@pytest.mark.parametrize(
    "wrong", [["--promise", "adjacent", "much"], ["--sure", "2"], ["--minutes", "0"], ["--rubric", "no.txt"]]
)
def test_options_that_make_no_sense_are_refused(rows, tmp_path, monkeypatch, wrong):
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=wrong[0].removeprefix("--")):
        cli.main(["label", str(table(tmp_path, rows.head(40), 20)), *wrong])


def test_a_study_file_needs_no_split_and_uses_every_score(project, rows, monkeypatch):
    """params/mine.yaml as it is, on a spreadsheet with 60 of 300 essays scored."""
    monkeypatch.setenv("CYBORG_DATA_DIR", str(project / "data"))
    (project / "data").mkdir()
    frame = pd.read_csv(table(project, rows, 60)).rename(columns={"name": "id", "essay": "text", "ell": "gender"})
    frame.assign(task=rows["assignment"]).to_excel(project / "data" / "marks.xlsx", index=False)
    given, task = asked.of_study("mine"), asked.task_of_study("mine")
    assert len(given.scored) == 60 and len(given.blank) == 240 and given.groups == ["groups.gender"]
    assert task.teachers == plan.TEACHERS and task.settings.promise == ("adjacent", 0.95)
    study = config.load("mine")
    assert workflow.steps(study) == ["01_prepare_data", "15_label_your_essays"] and study.half_scored
    split = corpora.frame(corpora.prepare("mine").dataset)["split"].value_counts()
    assert split["pool"] == 240 and split["train"] == 43 and not config.load("demo").half_scored


def test_the_studys_own_teacher_reads_as_in_the_study(tmp_path):
    task = asked.task_of_study("demo")
    assert task.known == states.Reading("smollm2-135m-instruct", (12,), 224, rubric=False) and task.student.max_tokens == 224
    made = label.plan_of(None, task, tmp_path / "plan.json")  # nothing is measured
    assert made.teacher == task.known and "as in the study" in made.told(1700) and not (tmp_path / "plan.json").exists()
    tuned = replace(config.load("demo"), sections=config.load("ellipse").sections)
    with pytest.raises(CyborgError, match="needs a frozen one"):
        asked.of_section(config.load("demo").section("label_your_essays"), tuned)


@pytest.mark.parametrize(("promise", "told"), [(("adjacent", 0.95), "--promise error 5"), (("error", 10.0), "may score")])
def test_marks_out_of_a_hundred_are_scored_and_a_mean_error_is_what_can_be_promised(rows, promise, told):
    rng = np.random.default_rng(2)
    marks = np.clip((12 * rows["true_score"] + 15 + rng.normal(size=len(rows)) * 4).round(), 0, 100)
    given = some(rows.assign(score=marks), 120)
    given = replace(given, scale=Scale(0, 100))
    made = report.make(given, features(given, rows, noise=0.2), FAST._replace(promise=promise))
    assert told in words.guarantee(made)
    text, found = page.render(made, files={}, done=[]), label.scores(made, PLAN)
    assert "nan" not in re.sub(r"base64,\S+", "", text) and found["score"].between(0, 100).all()
    blank = found["human"].isna()
    assert np.corrcoef(found["score"][blank], marks[blank])[0, 1] > 0.8 and found["score"][blank].nunique() > 20


def test_fine_tuning_is_judged_on_the_same_folds(tiny_models, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path))
    given = some(rows.head(60), 30)
    made = label.label(given, tmp_path / "out", tiny(tiny_models, fine_tune=True), name="tiny")
    text = (tmp_path / "out" / "page.html").read_text()
    assert "Fine-tuning the Student" in text and "worth it" in text
    content = json.loads((tmp_path / "out" / "student_fine_tuned" / "scoring.json").read_text())
    assert content["name"]["head"] == "frozen-then-tuned" and len(content["line"]["residuals"]) == len(made.own.score)
    assert len(predict.Scorer(tmp_path / "out" / "student_fine_tuned").score(["a"], ["A short essay."])) == 1
