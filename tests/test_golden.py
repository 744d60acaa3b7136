"""Ours against RSMTool's own numbers (tests/golden/rsmtool.json, written by tools/rsmtool_golden.py), to 1e-6."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import fairness, metrics

GOLDEN = json.loads((Path(__file__).parent / "golden" / "rsmtool.json").read_text(encoding="utf-8"))
SETS = {"generated": Scale(1, 6), "ellipse": Scale(1, 5, 0.5)}
NEAR = 1e-6


def frame(name):
    return pd.DataFrame(GOLDEN[name]["scores"]).astype({"machine": float, "h1": float})


def same(ours, theirs):
    assert ours == pytest.approx(theirs, abs=NEAR, rel=NEAR)


@pytest.mark.parametrize("name,rater", [(name, rater) for name in SETS for rater in GOLDEN[name]["found"]["agreement"]])
def test_agreement(name, rater):
    scores, wanted = frame(name), GOLDEN[name]["found"]["agreement"][rater]
    scores = scores[scores[rater].notna()]
    human, other = scores["h1"].to_numpy(), scores[rater].to_numpy(dtype=float)
    assert len(scores) == wanted["n"]
    for metric, function in (("r", metrics.pearson_r), ("r2", metrics.r2), ("rmse", metrics.rmse)):
        same(function(human, other), wanted[metric])
    same(metrics.smd(human, other, denominator="pooled"), wanted["smd_pooled"])
    same(metrics.smd_denominator(human, other), wanted["human_sd"])
    # RSMTool takes QWK of real-valued scores too (Haberman 2019); ours wants levels, but its formula from sums is the same.
    centred = metrics.moments(human, other, centre=3).sum(axis=0)
    same(float(metrics.from_moments("qwk", centred)), wanted["qwk"])
    # Agreement is in per cent there, a share here.
    same(float(metrics.from_moments("exact", centred)), wanted["exact"] / 100)
    # Adjacent is "at most one point apart" there and "at most one level" here: the same only on a scale by 1.
    same(float((np.abs(human - other) <= 1).mean()), wanted["adjacent"] / 100)
    if rater != "machine":  # whole levels
        levels = SETS[name].level(human), SETS[name].level(other)
        same(metrics.qwk(*levels, levels=SETS[name].size), wanted["qwk"])
        same(metrics.exact_agreement(*levels), wanted["exact"] / 100)
        if SETS[name].step == 1:
            same(metrics.adjacent_agreement(*levels), wanted["adjacent"] / 100)
        else:
            assert metrics.adjacent_agreement(*levels) < wanted["adjacent"] / 100


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("denominator", list(metrics.DENOMINATORS))
def test_smd_and_dsm_by_group(name, denominator):
    options = {"groups": ["group"], "scale": SETS[name], "human": "h1", "machine": "machine", "seed": 1, "resamples": 20}
    table = fairness.smd_by_group(frame(name), denominator=denominator, **options)
    wanted = GOLDEN[name]["found"]["groups"]
    assert set(table["group"]) == set(wanted)
    for row in table.itertuples():
        same(row.smd, wanted[row.group][denominator])
        same(row.dsm, wanted[row.group]["dsm"])


@pytest.mark.parametrize("name", SETS)
def test_osa_osd_csd(name):
    # With `min_group` 1: RSMTool compares groups of any size, ours leaves out those under ten.
    table = fairness.osa_osd_csd(frame(name), groups=["group"], human="h1", machine="machine", min_group=1).set_index("measure")
    for measure, wanted in GOLDEN[name]["found"]["fairness"].items():
        same(table.loc[measure, "r2_adjusted"], wanted["r2_adjusted"])
        same(table.loc[measure, "p"], wanted["p"])


@pytest.mark.parametrize("raters", [2, 3])
def test_prmse(raters):
    scores, wanted = frame("generated"), GOLDEN["generated"]["found"][f"prmse_{raters}"]
    ratings = scores[[f"h{at + 1}" for at in range(raters)]].to_numpy(dtype=float)
    assert np.isnan(ratings).any()  # single-scored essays are among them
    same(metrics.rater_error_variance(ratings), wanted["error_variance"])
    same(metrics.true_score_variance(ratings), wanted["true_variance"])
    same(metrics.prmse(ratings, scores["machine"]), wanted["prmse"])


def test_prmse_of_single_scored_essays_with_a_known_error_variance():
    scores, wanted = frame("generated"), GOLDEN["generated"]["found"]["prmse_1"]
    same(metrics.prmse(scores[["h1"]], scores["machine"], error_variance=wanted["error_variance"]), wanted["prmse"])


def test_rounding_differs_on_purpose_at_halves():
    # RSMTool trims to 0.4998 beyond the scale, then rounds halves to even (1.5 and 2.5 to 2); ours goes up (2.5 to 3), so that
    # no score is favoured. Elsewhere both give the same score.
    values, theirs = (np.array(GOLDEN["rounding"][key]) for key in ("values", "rounded"))
    ours = Scale(1, 6).score(Scale(1, 6).nearest(values))
    assert values[ours != theirs].tolist() == [2.5]
