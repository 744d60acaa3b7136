"""What agreement is made of, on invented essays whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import probe_agreement
from cyborg_utils.extensions.repeat_draws import Cell
from cyborg_utils.stats import length

SCALE = Scale(1, 6)
OPTIONS = {"resamples": 300, "confidence": 0.95, "seed": 1}


@pytest.fixture(scope="module")
def made() -> tuple[list[Cell], np.ndarray, pd.Series]:
    """People score quality and length alike; `length` sees the one, `teacher` the other, `cyborg` both."""
    rng = np.random.default_rng(3)
    n, draws = 1500, 4
    size, quality = rng.normal(size=(2, n))
    human = SCALE.nearest(3.5 + 0.8 * size + 0.8 * quality)
    count = np.round(np.exp(5.5 + 0.4 * size)).astype(int)

    def arm(*parts: np.ndarray) -> np.ndarray:
        return 3.5 + 1.1 * sum(parts) / np.sqrt(len(parts)) + rng.normal(0, 0.1, (draws, n))

    values = {"length": arm(size), "teacher": arm(quality), "cyborg": arm(size, quality)}
    values |= {name: arm(size, quality, rng.normal(size=n)) for name in ("ridge", "human", "best", "average")}
    cells = [Cell(0, "", 0.1, 60, human, values), Cell(0, "", 1.0, 600, human, {"full": arm(size, quality)[:1]})]
    return cells, count, pd.Series(rng.integers(0, 8, n).astype(str))


def test_partial_correlation_is_that_of_the_residuals():
    rng = np.random.default_rng(1)
    a, b, c = rng.normal(size=(3, 200)) + rng.normal(size=200)
    residuals = [part - np.polyval(np.polyfit(c, part, 1), c) for part in (a, b)]
    assert length.partial_r(a, b, c) == pytest.approx(np.corrcoef(*residuals)[0, 1])
    assert np.isnan(length.partial_r(a, 2 * c + 1, c))


def test_bands_are_of_equal_size_and_in_order():
    sizes = np.array([5, 1, 3, 3, 9, 7, 2])
    band = length.bands(sizes, 3)
    assert sorted(band.tolist()) == [0, 0, 0, 1, 1, 2, 2] and band[sizes.argsort(kind="stable")].tolist() == sorted(band)


def test_a_scorer_of_length_has_nothing_beyond_it(made):
    cells, count, _ = made
    table = probe_agreement.of_length(cells, count, SCALE, bands=5).set_index("arm")
    assert list(table.index) == ["length", "ridge", "human", "teacher", "best", "cyborg", "full"]
    assert table.loc["length", "qwk"] > 0.6 and abs(table.loc["length", "r_partial"]) < 0.1
    assert table.loc["length", "r_length"] > 0.95 and abs(table.loc["teacher", "r_length"]) < 0.1
    assert table.loc["teacher", "r_partial"] > table.loc["teacher", "r"] + 0.1
    assert table.loc["cyborg", "qwk_within"] < table.loc["cyborg", "qwk"] and table.loc["length", "qwk_within"] < 0.3
    bands = probe_agreement.by_band(cells, count, SCALE, bands=5)
    part = bands[bands["arm"] == "cyborg"]
    assert part["n"].tolist() == [300] * 5 and (part["shortest"].to_numpy()[1:] >= part["longest"].to_numpy()[:-1]).all()
    assert part["qwk"].mean() == pytest.approx(table.loc["cyborg", "qwk_within"])
    text = probe_agreement.length_in_words(table.reset_index())
    assert f"**{table.loc['length', 'qwk']:.3f}**" in text and "60 human scores" in text


def test_differences_have_an_interval_over_essays_and_one_over_prompts(made):
    cells, _, prompt = made
    table = probe_agreement.differences(cells, prompt, SCALE, **OPTIONS).set_index("baseline")
    assert list(table.index) == list(probe_agreement.BASELINES) and (table["prompts"] == 8).all()
    for name in ("low", "prompt_low"):
        assert table.loc["human", name] > 0.1 and table.loc["full", name] < 0
    assert abs(table.loc["full", "difference"]) < 0.02
    assert not np.allclose(table["low"], table["prompt_low"])
    text = probe_agreement.differences_in_words(table.reset_index())
    assert "against `human`: over essays better at 60, worse at no number; over prompts better at 60" in text
    alone = probe_agreement.differences(cells, pd.Series(["p"] * 1500), SCALE, **OPTIONS)
    assert alone["prompt_low"].isna().all() and alone["low"].notna().all()


@pytest.fixture
def public(tmp_path, monkeypatch, made):
    monkeypatch.setenv("CYBORG_DATA_DIR", str(tmp_path))
    cells, _, _ = made
    test = pd.DataFrame({"essay_id": [f"{at:012X}" for at in range(1500)], "score": SCALE.score(cells[0].human)})
    rows = test[::-1].rename(columns={"score": "human_score"}).assign(big=test["score"] * 0.9 + 0.3, small=3.4)
    rows["small"] += np.random.default_rng(0).normal(0, 1, 1500)
    rows.loc[7, "big"] = np.nan
    rows.iloc[:1400].to_csv(tmp_path / "public.csv", index=False)  # the last 100 of them are not known: test essays 0 to 99
    return test


def test_public_scorers_stand_beside_ours_on_the_essays_that_all_have_scored(public, made):
    cells, count, _ = made
    given = probe_agreement.published("public.csv", ["big", "small"], public)
    assert (
        len(given) == 1500
        and given["big"].isna().sum() == 100
        and given["big"].iloc[200] == pytest.approx(public["score"].iloc[200] * 0.9 + 0.3)
    )
    table = probe_agreement.beside(cells, given, count, SCALE, **OPTIONS).set_index("system")
    assert (table["n"] == 1400).all() and table["source"].value_counts()["public"] == 2
    assert table.loc["big", "qwk"] > 0.95 > 0.2 > table.loc["small", "qwk"]
    assert table["qwk"].between(table["low"], table["high"]).all() and np.isnan(table.loc["big", "n_human"])
    text = probe_agreement.beside_in_words(table.reset_index())
    assert "1,400 test essays the 2 public scorers" in text and "`cyborg` from 60 human scores on" in text


def test_public_predictions_of_other_essays_or_scores_are_refused(public, tmp_path):
    with pytest.raises(CyborgError, match="no column huge"):
        probe_agreement.published("public.csv", ["huge"], public)
    with pytest.raises(CyborgError, match="none of its essays"):
        probe_agreement.published("public.csv", ["big"], public.assign(essay_id="x" + public["essay_id"]))
    with pytest.raises(CyborgError, match="1400 human scores differ, such as that of 000000000064"):
        probe_agreement.published("public.csv", ["big"], public.assign(score=7 - public["score"] + 0.5))
