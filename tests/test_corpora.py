"""Splits, U, the dataset on disk, and each corpus in its own layout."""

from __future__ import annotations

from pathlib import Path

import corpus_samples as samples
import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora, row_faults, sources, splits

PLACES = [folder / sub / sources.ELLIPSE_TEST for folder in paths.data_folders() for sub in ("ellipse", "")]
REAL_ELLIPSE = next((path for path in PLACES if path.is_file()), None)
needs_ellipse = pytest.mark.skipif(REAL_ELLIPSE is None, reason=f"{sources.ELLIPSE_TEST} is not here (not shipped: its licence)")


@pytest.fixture
def own(data: Path) -> corpora.Prepared:
    samples.write_csv(data / "own.csv", samples.own(120))
    return corpora.build(samples.settings("table", groups=["gender"], options=samples.OWN))


# --- splits ---------------------------------------------------------------------------------------------------------------


def test_every_prefix_of_the_stratified_order_holds_each_level_in_proportion():
    level = np.repeat([0, 1, 2, 3], [1, 9, 90, 300])
    order = splits.stratified_order(level, np.random.default_rng(0))
    assert sorted(order) == list(range(400))
    for share in (0.1, 0.25, 0.6):
        chosen = np.bincount(level[order[: int(share * 400)]], minlength=4)
        assert np.all(np.abs(chosen - share * np.array([1, 9, 90, 300])) <= 1.5), (share, chosen)


def test_a_singleton_level_can_fall_on_either_side_of_a_cut():
    level = np.array([0] + [1] * 99)
    first_half = [0 in splits.stratified_order(level, np.random.default_rng(seed))[:50] for seed in range(60)]
    assert 15 <= sum(first_half) <= 45


def frame_of(levels: list[int], texts: list[str] | None = None, split: str | list[str] = "") -> pd.DataFrame:
    texts = texts or [samples.text(i) for i in range(len(levels))]
    return pd.DataFrame({"level": levels, "stratum": levels, "duplicate": texts, "split": split})


def test_counts_and_shares_are_met_exactly_without_duplicates():
    frame = frame_of([i % 5 for i in range(200)])
    by_count = splits.assign(frame, dev=20, test=50, seed=1)
    assert pd.Series(by_count).value_counts().to_dict() == {"train": 130, "test": 50, "dev": 20}
    by_share = splits.assign(frame, dev=0.1, test=0.25, seed=1)
    assert pd.Series(by_share).value_counts().to_dict() == {"train": 135, "test": 50, "dev": 15}


def test_the_split_is_stratified_seeded_and_blind_to_row_order():
    frame = frame_of([0] * 10 + [1] * 40 + [2] * 150)
    split = splits.assign(frame, dev=20, test=50, seed=1)
    shares = pd.crosstab(split, frame["level"], normalize="index")
    assert (shares.loc["test"] - [0.05, 0.2, 0.75]).abs().max() <= 0.03
    assert np.array_equal(split, splits.assign(frame, dev=20, test=50, seed=1))
    assert not np.array_equal(split, splits.assign(frame, dev=20, test=50, seed=2))
    turned = frame.iloc[::-1].reset_index(drop=True)
    assert np.array_equal(split, splits.assign(turned, dev=20, test=50, seed=1)[::-1])


def test_duplicates_never_straddle_splits():
    texts = [samples.text(i // 4) for i in range(200)]  # each text four times
    for seed in range(5):
        split = splits.assign(frame_of([i % 3 for i in range(200)], texts), dev=0.15, test=0.25, seed=seed)
        assert pd.Series(split).groupby(texts).nunique().max() == 1
        assert abs((split == "test").sum() - 50) < 4


def test_duplicates_are_found_through_case_spacing_and_punctuation(data: Path):
    rows = samples.own(60)
    for i in range(20):
        rows.append(
            {"no": f"copy{i}", "body": rows[i]["body"].upper().replace(" ", "  ") + " !!", "score": 1 + i % 6, "sex": "F"}
        )
    samples.write_csv(data / "own.csv", rows)
    prepared = corpora.build(samples.settings("table", options=samples.OWN, dev=10, test=20))
    split = prepared.split.set_index("essay_id")["split"]
    assert all(split[f"copy{i}"] == split[f"e{i}"] for i in range(20))
    assert any("20 essay(s) repeat" in note for note in prepared.notes)


@pytest.mark.parametrize("dev, test", [(50, 50), (0.5, 100), (5, 0)])
def test_impossible_sizes_are_refused(dev, test):
    with pytest.raises(CyborgError, match="training|own test split"):
        splits.assign(frame_of([i % 2 for i in range(100)]), dev=dev, test=test, seed=1)


def test_a_dev_split_of_the_corpus_is_kept_only_with_dev_0():
    frame = frame_of([0, 1] * 15, split=["train"] * 20 + ["dev"] * 4 + ["test"] * 6)
    assert list(splits.assign(frame, dev=0, test=0, seed=1)) == list(frame["split"])
    with pytest.raises(CyborgError, match="dev to 0"):
        splits.assign(frame, dev=3, test=0, seed=1)


# --- the dataset ----------------------------------------------------------------------------------------------------------


def test_dataset_has_the_common_columns_and_survives_the_disk(own: corpora.Prepared):
    columns = [
        "essay_id",
        "text",
        "prompt",
        "assignment",
        "score",
        "second_score",
        "true_score",
        "level",
        "stratum",
        "traits",
        "groups",
        "split",
    ]
    assert own.dataset.column_names == columns
    corpora.save(own.dataset, "mine")
    corpora.save(own.dataset, "mine")  # replaces
    loaded = corpora.load("mine")
    assert loaded[:] == own.dataset[:]
    assert loaded[1]["groups"] == {"gender": "M"} and loaded[1]["traits"] == {} and loaded[1]["second_score"] is None
    assert [p.name for p in paths.build("mine").iterdir()] == ["essays"]


def test_load_before_notebook_01_says_what_to_run(data: Path):
    with pytest.raises(CyborgError, match="01_prepare_data"):
        corpora.load("nothing")


def test_frame_is_flat_and_carries_text_only_when_asked(own: corpora.Prepared):
    flat = corpora.frame(own.dataset)
    assert "text" not in flat and list(flat["groups.gender"][:2]) == ["F", "M"]
    assert flat["second_score"].isna().all() and flat["second_score"].dtype == float
    assert corpora.frame(own.dataset, text=True)["text"].tolist() == own.dataset["text"][:]


def test_level_follows_the_scale(data: Path):
    samples.write_csv(data / "ellipse" / sources.ELLIPSE_TEST, samples.ellipse())
    prepared = corpora.build(samples.settings("ellipse", scale=[1, 5, 0.5], score="Overall"))
    flat = corpora.frame(prepared.dataset)
    assert np.array_equal(flat["level"], np.round((flat["score"] - 1) / 0.5))


# --- U --------------------------------------------------------------------------------------------------------------------


def test_human_part_is_random_seeded_and_from_train_only(own: corpora.Prepared):
    flat = corpora.frame(own.dataset).set_index("essay_id")
    train = flat[flat["split"] == "train"]
    chosen = corpora.draw_human(own.dataset, 0.25, 1)
    assert len(chosen) == len(set(chosen)) == round(0.25 * len(train))
    assert set(chosen) <= set(train.index)
    assert np.array_equal(chosen, corpora.draw_human(own.dataset, 0.25, 1))
    assert set(chosen) != set(corpora.draw_human(own.dataset, 0.25, 2))


def test_nothing_is_drawn_by_scores_that_nobody_has_yet(data: Path):
    """The same draw, whatever people will score: U and the splits depend on ids, and on what they are stratified by."""
    rows = samples.own(120)
    samples.write_csv(data / "own.csv", rows)
    turned = [row | {"score": 7 - int(row["score"])} for row in rows]
    samples.write_csv(data / "turned.csv", turned)
    for by in ("nothing", "prompt", "length"):
        first, other = (
            corpora.build(samples.settings("table", stratify=by, options=samples.OWN | {"file": name}))
            for name in ("own.csv", "turned.csv")
        )
        assert not corpora.frame(first.dataset)["score"].equals(corpora.frame(other.dataset)["score"])
        assert first.split.equals(other.split)
        assert np.array_equal(corpora.draw_human(first.dataset, 0.2, 1), corpora.draw_human(other.dataset, 0.2, 1))


@pytest.mark.parametrize("by", ["prompt", "length", "score"])
def test_human_part_holds_each_stratum_in_proportion(by: str):
    settings = samples.settings("simulated", score="score", dev=20, test=40) | {"options": {"essays": 300, "seed": 1}}
    dataset = corpora.build(settings | {"stratify": by}).dataset
    train = (
        corpora.frame(dataset, text=True).assign(stratum=dataset["stratum"][:]).query("split == 'train'").set_index("essay_id")
    )
    if by == "length":
        lengths = train["text"].str.split().str.len().groupby(train["stratum"]).agg(["min", "max"])
        assert (lengths["max"].iloc[:-1].to_numpy() <= lengths["min"].iloc[1:].to_numpy()).all()
    else:
        assert train.groupby("stratum")["prompt" if by == "prompt" else "level"].nunique().max() == 1
    chosen = train.loc[corpora.draw_human(dataset, 0.25, 1), "stratum"].value_counts()
    wanted = 0.25 * train["stratum"].value_counts()
    assert (chosen.reindex(wanted.index, fill_value=0) - wanted).abs().max() <= 1.5 and len(chosen) > 1


def test_human_parts_of_one_seed_are_nested(own: corpora.Prepared):
    parts = [set(corpora.draw_human(own.dataset, fraction, 3)) for fraction in (0.001, 0.05, 0.1, 0.25, 0.5, 1.0)]
    assert len(parts[0]) == 1
    assert all(small < large for small, large in zip(parts, parts[1:], strict=False))
    assert len(parts[-1]) == (corpora.frame(own.dataset)["split"] == "train").sum()


def test_human_part_does_not_depend_on_row_order(own: corpora.Prepared):
    shuffled = own.dataset.shuffle(seed=9)
    assert set(corpora.draw_human(own.dataset, 0.2, 1)) == set(corpora.draw_human(shuffled, 0.2, 1))


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5])
def test_impossible_fractions_are_refused(own: corpora.Prepared, fraction: float):
    with pytest.raises(CyborgError, match="fraction"):
        corpora.draw_human(own.dataset, fraction, 1)


# --- PERSUADE and ASAP 2.0 ------------------------------------------------------------------------------------------------

GROUPS = ["gender", "grade_level", "ell_status", "economically_disadvantaged"]


def persuade(**changes):
    return corpora.build(samples.settings("persuade", score="holistic_essay_score", groups=GROUPS, **{"test": 0, **changes}))


def test_persuade_discourse_layout_takes_one_row_an_essay_and_counts_the_rest(data: Path):
    rows = samples.persuade()
    train, test = ([row for row in rows if row["competition_set"] == part] for part in ("train", "test"))
    samples.write_csv(data / "persuade_corpus_2.0_train.csv", samples.discourse(train))
    samples.write_csv(data / "persuade_corpus_2.0_test.csv", samples.discourse(test))
    prepared = persuade(dev=6)
    assert prepared.counts == {"rows_read": 440, "repeated": 400, "excluded": 0, "essays": 40}
    assert prepared.split["split"].value_counts().to_dict() == {"train": 18, "test": 16, "dev": 6}
    flat = corpora.frame(prepared.dataset, text=True).set_index("essay_id")
    assert set(flat.query("split == 'test'").index) == {row["essay_id_comp"] for row in test}  # the official one
    assert flat.loc[rows[20]["essay_id_comp"], "text"] == rows[20]["full_text"]
    assert flat.loc[rows[1]["essay_id_comp"], "groups.grade_level"] == "10"  # 10.0 after a gap in the column
    assert flat.loc[rows[2]["essay_id_comp"], ["groups.ell_status", "groups.economically_disadvantaged"]].isna().all()


def test_persuade_essay_layout_with_and_without_the_official_split(data: Path):
    rows = samples.persuade()
    file = data / "persuade" / "persuade_2.0_human_scores_demo_id_github.csv"
    samples.write_csv(file, rows)
    assert persuade().counts == {"rows_read": 40, "repeated": 0, "excluded": 0, "essays": 40}
    samples.write_csv(file, [{k: v for k, v in row.items() if k != "competition_set"} for row in rows])
    with pytest.raises(CyborgError, match=r"row 1: no column competition_set.*persuade_corpus_2\.0_train\.csv"):
        persuade()
    assert persuade(test=10).split["split"].value_counts()["test"] == 10


def test_both_persuade_layouts_give_the_same_essays(data: Path):
    rows = samples.persuade()
    samples.write_csv(data / "essays.csv", rows)
    samples.write_csv(data / "elements.csv", samples.discourse(rows))
    one, many = (corpora.frame(persuade(options={"file": name}).dataset, text=True) for name in ("essays.csv", "elements.csv"))
    pd.testing.assert_frame_equal(one, many)


def test_discourse_rows_that_contradict_each_other_are_listed(data: Path):
    rows = samples.discourse(samples.persuade())
    rows[5]["holistic_essay_score"] = 6
    samples.write_csv(data / "elements.csv", rows)
    prepared = persuade(options={"file": "elements.csv"})
    assert prepared.counts == {"rows_read": 440, "repeated": 399, "excluded": 1, "essays": 40}
    assert prepared.exclusions.loc[0, "row"] == 7 and "another text or score" in prepared.exclusions.loc[0, "reason"]


def test_a_text_on_both_sides_of_the_official_split_stays_in_test_only(data: Path):
    rows = samples.persuade()
    rows[30]["full_text"] = rows[2]["full_text"].upper()
    samples.write_csv(data / "essays.csv", rows)
    prepared = persuade(options={"file": "essays.csv"})
    assert prepared.counts == {"rows_read": 40, "repeated": 0, "excluded": 1, "essays": 39}
    listed = prepared.exclusions.iloc[0]
    assert (listed["essay_id"], listed["row"], listed["column"]) == (rows[30]["essay_id_comp"], 32, "text")
    assert rows[2]["essay_id_comp"] in listed["reason"]


def part_of_persuade(data: Path) -> list[dict]:
    """Essays in the layout of the public part of PERSUADE, with its oddities."""
    rows = samples.persuade()
    for row in rows:
        if row["competition_set"] == "train":
            row |= dict.fromkeys(["gender", "ell_status", "economically_disadvantaged", "grade_level"], "")
    for at, name in {0: "9.46E+11", 1: "3316349275E3", 20: "008215346192"}.items():
        rows[at]["essay_id_comp"] = name
    rows[2]["full_text"] = "A\xa0river and the student\u00c2\u00b4s \x93garden\x94"
    rows[3]["full_text"] = "Twice wrong: \u00c3\x82\u00c2\u00b4, and caf\u00e9 right"
    rows[21] |= {"prompt_name": "", "assignment": "", "task": ""}
    rows[30]["full_text"], rows[32]["full_text"] = rows[31]["full_text"], rows[4]["full_text"]
    samples.write_csv(data / "persuade_2.0_partial.csv", rows)
    return rows


def test_the_public_part_of_persuade_keeps_the_official_split_and_tells_its_oddities(data: Path):
    rows = part_of_persuade(data)
    prepared = persuade(dev=4)
    flat = corpora.frame(prepared.dataset, text=True).set_index("essay_id")
    assert prepared.counts == {"rows_read": 40, "repeated": 0, "excluded": 1, "essays": 39}  # the copy of a test essay
    assert {"9.46E+11", "3316349275E3", "008215346192"} <= set(flat.index)
    assert set(flat.query("split == 'test'").index) == {row["essay_id_comp"] for row in rows[:16]}
    assert flat.loc[rows[2]["essay_id_comp"], "text"] == "A river and the student\u00b4s \u201cgarden\u201d"
    assert flat.loc[rows[3]["essay_id_comp"], "text"] == "Twice wrong: \u00b4, and caf\u00e9 right"
    assert flat.loc[rows[30]["essay_id_comp"], "split"] == flat.loc[rows[31]["essay_id_comp"], "split"]
    told = "\n".join(prepared.notes)
    for part in [
        "1 essay(s) held no-break spaces, which are plain ones now; in 2 characters were mended",
        "1 id(s) were rounded by a spreadsheet (such as 9.46E+11)",
        "24 of the 15,594 essays of the official train split",
        "Of 16 test essays 16 have a writer group",
        "Of 24 train essays 0 have a writer group",
        "1 essay(s) have no prompt",
        "1 essay(s) repeat the text of another",
    ]:
        assert part in told


def test_a_sample_is_drawn_by_id_and_seed_and_is_nested(data: Path):
    part_of_persuade(data)

    def sample(**most):
        changes = {"split_seed": most.pop("split_seed", 5), "options": {"sample": most}}
        prepared = persuade(dev=4, **changes)
        return prepared, prepared.split.groupby("split")["essay_id"].agg(set)

    every, (_, some), (prepared, fewer) = persuade(dev=4), sample(train=12, test=9), sample(train=6, test=9)
    assert [len(some[name]) for name in ("train", "dev", "test")] == [12, 4, 9]
    assert fewer["train"] < some["train"] and fewer["test"] == some["test"] and fewer["dev"] == some["dev"]
    assert some["dev"] == set(every.split.query("split == 'dev'")["essay_id"])
    assert sample(train=6, test=9, split_seed=6)[1]["test"] != fewer["test"]
    assert prepared.counts == {"rows_read": 40, "repeated": 0, "excluded": 1, "not_sampled": 20, "essays": 19}
    assert "20 of 19 train and 16 test essays are left out at random" in prepared.notes[-1]
    assert set(corpora.frame(prepared.dataset)["essay_id"]) == set.union(*fewer)


def test_a_sample_does_not_depend_on_scores_or_order(data: Path):
    rows = part_of_persuade(data)
    names = [set(persuade(dev=0, options={"sample": {"train": 8}}).split["essay_id"])]
    for row in rows:
        row["holistic_essay_score"] = 7 - row["holistic_essay_score"]
    samples.write_csv(data / "persuade_2.0_partial.csv", rows[::-1])
    names.append(set(persuade(dev=0, options={"sample": {"train": 8}}).split["essay_id"]))
    assert names[0] == names[1]


@pytest.mark.parametrize("sample", [6000, {"dev": 3}, {"train": 0}, {"train": 0.5}, {"test": True}])
def test_a_sample_that_is_none_is_refused(data: Path, sample):
    part_of_persuade(data)
    with pytest.raises(CyborgError, match=r"options\.sample.*must be numbers of essays"):
        persuade(options={"sample": sample})


def asap1(**changes):
    base = {"corpus": "asap1", "score": "domain1_score", "groups": [], "dev": 4, "test": 10, "split_seed": 1}
    return corpora.build(base | changes)


def test_asap1_is_one_set_a_study_with_both_raters_on_its_scale(data: Path):
    def row(number: int, which: int, first: int, second: int, resolved: int) -> dict:
        scores = {"rater1_domain1": first, "rater2_domain1": second, "rater3_domain1": "", "domain1_score": resolved}
        return {"essay_id": number, "essay_set": which, "essay": samples.text(number)} | scores

    rows = [row(i, 1, 1 + i % 6, 1 + (i + i % 2) % 6, 2 + i % 6 + (i + i % 2) % 6) for i in range(40)]
    rows += [row(100 + i, 3, i % 4, min(3, i % 4 + 1), 3) for i in range(20)]
    rows[7]["essay"] += " \ufffd"
    samples.write_csv(data / "asap1" / "asap1_sets_1_to_6.csv", rows)
    first, third = asap1(scale=[2, 12, 1], options={"set": 1}), asap1(scale=[0, 3, 1], options={"set": 3})
    assert first.counts == {"rows_read": 40, "repeated": 0, "excluded": 0, "essays": 40} and third.counts["rows_read"] == 20
    assert any("1 essay(s) hold the sign U+FFFD" in note for note in first.notes)
    for prepared, twice in ((first, 2), (third, 1)):
        flat = corpora.frame(prepared.dataset).set_index("essay_id")
        given = pd.DataFrame(rows).astype({"essay_id": str}).set_index("essay_id").loc[flat.index]
        assert (flat["score"] == given["domain1_score"]).all() and set(flat["prompt"]) == {str(given["essay_set"].iloc[0])}
        assert (flat["first_score"] == twice * given["rater1_domain1"]).all()
        assert (flat["second_score"] == twice * given["rater2_domain1"]).all()
    with pytest.raises(CyborgError, match=r"options\.set: 7: must be one of 1, 2"):
        asap1(scale=[0, 3, 1], options={"set": 7})


def test_missing_corpus_says_where_it_looked_and_what_to_do(data: Path):
    with pytest.raises(CyborgError, match=r"(?s)persuade_corpus_2\.0_train\.csv.*Looked in .*CYBORG_DATA_DIR.*download persuade"):
        persuade()


def test_asap2_keeps_its_official_split(data: Path):
    rename = {"essay_id_comp": "essay_id", "holistic_essay_score": "score", "competition_set": "set"}
    rows = [{rename.get(name, name): value for name, value in row.items()} for row in samples.persuade()]
    for half in ("train", "test"):
        samples.write_csv(data / "asap2" / f"ASAP_2_Final_github_{half}.csv", [row for row in rows if row["set"] == half])
    prepared = corpora.build(samples.settings("asap2", groups=GROUPS, test=0, dev=4))
    assert prepared.split["split"].value_counts().to_dict() == {"train": 20, "test": 16, "dev": 4}
    assert [path.name for path in prepared.sources] == ["ASAP_2_Final_github_train.csv", "ASAP_2_Final_github_test.csv"]


# --- ELLIPSE --------------------------------------------------------------------------------------------------------------


def test_ellipse_oddities_on_invented_rows(data: Path):
    samples.write_csv(data / "ellipse" / sources.ELLIPSE_TEST, samples.ellipse())
    groups = ["economically_disadvantaged", "grade_level"]
    prepared = corpora.build(samples.settings("ellipse", scale=[1, 5, 0.5], score="Grammar", groups=groups))
    flat = corpora.frame(prepared.dataset).set_index("essay_id")
    assert "1.99E+11" in flat.index and any("rounded by a spreadsheet" in note for note in prepared.notes)
    assert flat["groups.economically_disadvantaged"].isna().sum() == 1
    assert set(flat["groups.grade_level"]) == {"8", "9", "10", "11", "12"}
    assert np.allclose(flat["score"], flat["traits.Grammar"])


def test_rounded_ids_that_collide_are_excluded_with_the_reason(data: Path):
    rows = samples.ellipse()
    rows[9]["text_id_kaggle"] = "1.99E+11"
    samples.write_csv(data / sources.ELLIPSE_TEST, rows)
    prepared = corpora.build(samples.settings("ellipse", scale=[1, 5, 0.5], score="Overall"))
    assert prepared.counts["essays"] == 39
    assert "spreadsheet has rounded" in prepared.exclusions.loc[0, "reason"]


def test_ellipse_knows_its_scores_and_groups(data: Path):
    samples.write_csv(data / sources.ELLIPSE_TEST, samples.ellipse())
    with pytest.raises(CyborgError, match="'Holistic' is none of Overall, Cohesion"):
        corpora.build(samples.settings("ellipse", scale=[1, 5, 0.5], score="Holistic"))
    with pytest.raises(CyborgError, match="ell_status unknown; this corpus has gender"):
        corpora.build(samples.settings("ellipse", scale=[1, 5, 0.5], score="Overall", groups=["ell_status"]))


@needs_ellipse
def test_the_real_ellipse_file_is_read_whole_and_split_as_the_study_says():
    prepared = corpora.build(config.load("ellipse").section("prepare_data"))
    assert prepared.counts == {"rows_read": 2571, "repeated": 0, "excluded": 0, "essays": 2571}
    flat = corpora.frame(prepared.dataset)
    assert flat["split"].value_counts().to_dict() == {"train": 1800, "test": 500, "dev": 271}
    assert flat["score"].value_counts().to_dict() == {3: 949, 3.5: 518, 2.5: 447, 4: 360, 2: 217, 4.5: 55, 5: 12, 1.5: 11, 1: 2}
    assert flat["essay_id"].is_unique and flat["essay_id"].str.fullmatch(row_faults.ROUNDED_ID.pattern).sum() == 13
    assert flat["groups.economically_disadvantaged"].isna().sum() == 1
    assert flat["groups.race_ethnicity"].value_counts()["American Indian/Alaskan Native"] == 4  # tiny groups are kept
    assert (flat["groups.grade_level"] == "9").sum() == 6
    shares = pd.crosstab(flat["split"], flat["level"], normalize="index")
    assert (shares.loc["test"] - shares.loc["train"]).abs().max() < 0.005
