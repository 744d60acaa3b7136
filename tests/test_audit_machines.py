"""Several machines on the same essays: read, judged, compared; rules for CI; the page to hand on and its JSON."""

from __future__ import annotations

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import CHECKOUT

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.audit import machines, report, rules, sentences
from cyborg_utils.plots import group_plots
from cyborg_utils.run import cli, execute
from cyborg_utils.stats import bootstrap, fairness
from cyborg_utils.study import artefacts

SCALE = Scale(1, 6)
COLUMNS = {"id": "id", "human": "human", "groups": ["ell"], "scale": SCALE}
SETTINGS = {"resamples": 400, "confidence": 0.95}
LIMITS = {"limit": 0.1, "margin": 0.05, "min_group": 10}
SCHEMA = yaml.safe_load((CHECKOUT / "cyborg_utils" / "extensions" / "audit" / "audit.schema.yaml").read_text(encoding="utf-8"))


def given(n: int = 600) -> pd.DataFrame:
    """Machine a is fair; b is a, 0.3 points more lenient with all; c is a, 0.5 points stricter with English learners."""
    rng = np.random.default_rng(3)
    human = np.clip(np.round(rng.normal(3.5, 1.2, n)), 1, 6)
    ell = np.where(np.arange(n) % 3 == 0, "Yes", "No")
    noise = pd.Series(rng.normal(0, 0.6, n))
    a = human + noise - noise.groupby(ell).transform("mean")  # SMD 0 in both groups
    return pd.DataFrame(
        {"id": [f"e{at}" for at in range(n)], "human": human, "ell": ell, "a": a, "b": a + 0.3, "c": a - 0.5 * (ell == "Yes")}
    )


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> dict[str, pd.DataFrame]:
    file = tmp_path_factory.mktemp("given") / "scores.csv"
    given().to_csv(file, index=False)
    return machines.load(file, machines=["a", "b", "c"], **COLUMNS)


@pytest.fixture(scope="module")
def tables(scored) -> dict[str, pd.DataFrame]:
    return machines.audit(scored, SCALE, pairs=[("b", "a"), ("c", "a")], **LIMITS, **SETTINGS, seed=1)


@pytest.fixture(scope="module")
def found(tables) -> dict:
    settings = SETTINGS | {"smd_limit": 0.1, "margin": 0.05, "min_group": 10, "analysis_seed": 1, "scale": [1, 6, 1]}
    return report.result(tables, source="scores.csv", essays=600, settings=settings)


# ---------------------------------------------------------------- reading and pairs


def test_all_machines_have_the_same_essays_and_a_missing_score_is_told(scored, tmp_path):
    assert list(scored) == ["a", "b", "c"]
    assert all(one.drop(columns="value").equals(scored["a"].drop(columns="value")) for one in scored.values())
    np.testing.assert_allclose(scored["b"]["value"] - scored["a"]["value"], 0.3)
    given().assign(b=lambda rows: rows["b"].where(rows.index != 4)).to_csv(tmp_path / "gap.csv", index=False)
    with pytest.raises(CyborgError, match="gap.csv: 1 fault.*\n.*row 6, column b: no score"):
        machines.load(tmp_path / "gap.csv", machines=["a", "b"], **COLUMNS)
    with pytest.raises(CyborgError, match="machine a is given twice"):
        machines.load(tmp_path / "gap.csv", machines=["a", "b", "a"], **COLUMNS)


def test_pairs_are_each_with_the_first_unless_others_are_wished():
    assert machines.chosen_pairs(["a", "b", "c"]) == [("b", "a"), ("c", "a")]
    assert machines.chosen_pairs(["a", "b", "c"], [["c", "b"]]) == [("c", "b")]
    for wrong in (["a", "x"], ["a", "a"], ["a"]):
        with pytest.raises(CyborgError, match="a pair has two different machines of a, b"):
            machines.chosen_pairs(["a", "b"], [wrong])


# ---------------------------------------------------------------- tables


def test_each_machine_is_judged_as_if_it_were_alone(scored, tables):
    alone = fairness.smd_by_group(scored["c"], groups=["groups.ell"], scale=SCALE, seed=1, **SETTINGS)
    mine = tables["machines_smd"].query("machine == 'c'").reset_index(drop=True)
    pd.testing.assert_frame_equal(
        mine[["smd", "smd_low", "dsm_high", "verdict"]], alone[["smd", "smd_low", "dsm_high", "verdict"]]
    )
    part = scored["c"][scored["c"]["groups.ell"] == "Yes"]
    level, machine = SCALE.level(part["score"]), SCALE.nearest(part["value"])
    interval = bootstrap.bootstrap_interval(level, machine, seed=1, **SETTINGS)
    assert mine.query("group == 'Yes'")[["qwk", "qwk_low", "qwk_high"]].iloc[0].tolist() == pytest.approx(list(interval))
    assert tables["machines"].groupby("machine").size().tolist() == [6, 6, 6]


def test_leniency_with_all_moves_smd_and_only_a_group_s_own_moves_dsm(tables):
    changes = tables["changes"].set_index(["system", "measure", "group"]).sort_index()
    smd, dsm = changes.loc[("b", "SMD")], changes.loc[("b", "DSM")]
    assert (smd["effect"] == "larger").all() and (smd["p_holm"] < 0.05).all()
    np.testing.assert_allclose(dsm["change"], 0, atol=1e-12)
    assert (dsm["effect"] == "not shown").all()
    assert changes.loc[("c", "DSM", "Yes"), "effect"] == "larger"
    assert changes.loc[("c", "SMD", "No"), "change"] == pytest.approx(0, abs=1e-12)
    assert (changes["p_holm"] >= changes["p"]).all()
    told = sentences.changed(tables["changes"])
    assert "**b** instead of a: SMD of all essays" in told and "|SMD| is smaller in 0 and larger in 2 of 2 groups" in told


def test_a_change_has_the_values_of_the_tables_and_its_p_agrees_with_its_interval(scored, tables):
    both = scored["c"].assign(before=scored["a"]["value"])
    how = {"groups": ["groups.ell"], "before": "before", "after": "value", "seed": 2, "resamples": 2_000}
    for measure in ("smd", "dsm"):
        rows = fairness.change_by_group(both, measure=measure, **how).query("attribute == 'ell'")
        for column, name in ((f"{measure}_before", "a"), (measure, "c")):
            own = tables["machines_smd"]
            own = own[(own["machine"] == name) & (own["attribute"] == "ell")]
            np.testing.assert_allclose(rows[column], own[measure])
        outside = (rows["change_low"] > 0) | (rows["change_high"] < 0)
        assert (outside == (rows["p"] < 0.05)).all()


def test_the_p_of_a_bootstrap_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(5)
    p = []
    for _ in range(300):
        sample = rng.normal(size=40)
        drawn = sample[rng.integers(0, 40, (1_000, 40))].mean(axis=1)
        p.append(bootstrap.bootstrap_p(drawn, 40))
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.08 and 0.42 <= np.mean(np.array(p) < 0.5) <= 0.58
    assert np.isnan(bootstrap.bootstrap_p(np.full(100, np.nan), 40)) and np.isnan(bootstrap.bootstrap_p(drawn, 1))


def test_differences_are_those_of_the_paired_comparison_over_prompts_too(scored, tables):
    assert tables["comparisons"]["system"].tolist() == ["b", "c"] and "prompt_low" not in tables["comparisons"]
    prompts = {name: own.assign(prompt=np.arange(600) % 6) for name, own in scored.items()}
    table = machines.compare(prompts, SCALE, pairs=[("c", "a")], margin=0.05, seed=1, **SETTINGS)
    assert table[["prompt_low", "prompt_high"]].notna().all(axis=None)
    few = {name: own[:20] for name, own in scored.items()}
    assert machines.compare(few, SCALE, pairs=[("c", "a")], margin=0.05, seed=1, **SETTINGS).empty
    assert "**c** " in sentences.compared(table) and "over prompts [" in sentences.compared(table)


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    "text, parsed",
    [
        ("smd>0.1", ("", "", "smd", ("all", "groups"), ">", 0.1)),
        ("qwk < 0.7", ("", "", "qwk", ("all",), "<", 0.7)),
        ("surely qwk[groups]<=0.6", ("", "surely", "qwk", ("groups",), "<=", 0.6)),
        ("b: possibly smd[ell=Yes] >= 1", ("b", "possibly", "smd", ("ell=Yes",), ">=", 1.0)),
        ("sd_ratio>1.5", ("", "", "sd_ratio", ("all",), ">", 1.5)),
    ],
)
def test_rules_are_read(text, parsed):
    assert rules.parse(text, ["a", "b"], ["ell"])[1:] == parsed


@pytest.mark.parametrize(
    "text, told",
    [
        ("smd", "cannot be read. A rule is MEASURE"),
        ("smd>0.1 and qwk<0.7", "cannot be read"),
        ("__import__('os')>1", "cannot be read"),
        ("smd>1e-1", "cannot be read"),
        ("kappa<0.7", "no measure 'kappa'"),
        ("x: smd>0.1", "no machine 'x'; there are a, b"),
        ("smd[gender=f]>0.1", r"no essays \[gender=f\]; there are all, groups, ell=GROUP"),
        ("r[groups]<0.7", r"r is not measured of \[groups\]"),
        ("dsm[all]>0.1", r"dsm is not measured of \[all\]"),
    ],
)
def test_a_rule_that_is_none_is_refused_with_what_a_rule_is(text, told):
    with pytest.raises(CyborgError, match=told):
        rules.parse(text, ["a", "b"], ["ell"])


def broken(found: dict, *texts: str) -> list[tuple[str, str]]:
    asked = [rules.parse(text, ["a", "b", "c"], ["ell"]) for text in texts]
    return [(one["machine"], one["where"]) for one in rules.failures(asked, found)]


def test_rules_fail_for_what_they_say(found):
    assert broken(found, "surely smd[groups]>0.1") == [("b", "ell = No"), ("b", "ell = Yes"), ("c", "ell = Yes")]
    assert broken(found, "c: smd[ell=Yes]>0.1", "c: smd[ell=No]>0.2") == [("c", "ell = Yes")]
    assert ("c", "ell = Yes") in broken(found, "dsm>0.1") and ("b", "ell = Yes") not in broken(found, "dsm>0.1")
    assert broken(found, "qwk<0.1", "r<0.1", "smd>3") == [] and len(broken(found, "qwk<1")) == 3
    row = found["machines"][0]["groups"][0]
    number = f"{(row['qwk'] + row['qwk_high']) / 2:.4f}"
    assert [broken(found, f"a: {how}qwk<{number}") != [] for how in ("", "surely ", "possibly ")] == [True, False, True]


def test_what_is_not_known_fails_and_says_why(found):
    few = json.loads(json.dumps(found))
    few["machines"] = few["machines"][:1]
    few["machines"][0]["groups"] = few["machines"][0]["groups"][:1]
    few["machines"][0]["thresholds"][0] |= {"met": "not known", "why": "12 essays, 30 are needed"}
    asked = [rules.parse(text, ["a"], ["ell"]) for text in ("qwk<0.7", "dsm>0.1", "smd[ell=Maybe]>0.1")]
    told = [one["found"] for one in rules.failures(asked, few)]
    assert told == [
        "qwk is not known: 12 essays, 30 are needed",
        "|dsm| is not known: no group is named that can be judged",
        "|smd| is not known: no such group among these essays",
    ]


# ---------------------------------------------------------------- the page and its JSON


class Page(HTMLParser):
    """What a page loads, its alternative texts, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded, self.alts, self.words = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.loaded += [given[name] for name in ("src", "href") if name in given]
        self.alts += [given.get("alt", "")] if tag == "img" else []

    def handle_data(self, data):
        self.words += data


def written(found: dict, tables: dict) -> Path:
    shown = group_plots.smd_forest(tables["machines_smd"], stage="machine")
    artefacts.save_figure("try", "figure_audit_machines", shown)
    return report.write_files("try", found, notes=["A <note>."], figures=["figure_audit_machines"])


def test_the_page_needs_nothing_outside_it_and_says_the_verdicts_first(project, found, tables):
    page = Page(written(found, tables).read_text(encoding="utf-8"))
    assert page.loaded and all(source.startswith("data:image/png;base64,") for source in page.loaded)
    assert page.alts[0].startswith("SMD") and "A <note>." in page.words
    order = [page.words.index(name) for name in ("Verdicts", "Which machine agrees better", "Criterion")]
    assert order == sorted(order) and "2 of 2, most of all ell = " in page.words
    alone = found | {"machines": found["machines"][2:], "comparisons": [], "changes": []}
    page = Page(report.write_files("try", alone, figures=[]).read_text(encoding="utf-8"))
    assert "Treats 1 of 2 groups of writers differently than people do: ell = Yes (" in page.words
    assert "Which machine" not in page.words and not page.loaded


def test_the_json_keeps_its_schema(project, found, tables):
    written(found, tables)
    kept = report.read("try")
    jsonschema.validate(kept, SCHEMA)
    assert kept == json.loads(json.dumps(found))
    asked = [rules.parse("c: smd>0.1", ["a", "b", "c"], ["ell"])]
    judged = report.judged_by(asked, "try")
    jsonschema.validate(judged, SCHEMA)
    assert judged["rules"] == ["c: smd>0.1"] and judged["failures"] and report.read("try") == judged


@pytest.mark.parametrize(
    "folder", [file.parent for file in CHECKOUT.glob("results/*/audit.json")], ids=lambda folder: folder.name
)
def test_committed_audits_keep_the_schema(folder):
    jsonschema.validate(json.loads((folder / "audit.json").read_text(encoding="utf-8")), SCHEMA)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
def test_the_page_opens_and_prints_in_a_browser(project, found, tables, tmp_path):
    page = written(found, tables)
    call = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    subprocess.run(
        [*call, f"--print-to-pdf={tmp_path / 'page.pdf'}", page.as_uri()], check=True, capture_output=True, timeout=240
    )
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF") and (tmp_path / "page.pdf").stat().st_size > 20_000


# ---------------------------------------------------------------- the command


def test_the_command_hands_machines_on_and_ends_with_3_where_a_rule_holds(project, found, tables, monkeypatch, capsys):
    given(60).to_csv(project / "scores.csv", index=False)
    seen = []

    def executed(notebook, name, values):
        seen.append(values)
        paths.results(name, "records").mkdir(parents=True, exist_ok=True)
        written(found, tables)
        shutil.copytree(paths.results("try"), paths.results(name), dirs_exist_ok=True)
        return paths.results(name, "notebooks", "14_audit_scores.ipynb")

    monkeypatch.setattr(execute, "execute", executed)
    call = ["audit", "scores.csv", "--human", "human", "--groups", "ell", "--scale", "1", "6", "1", "--machine", "a", "b", "c"]
    cli.main([*call, "--pair", "c", "b", "--replace", "--fail-on", "qwk<0.1"])
    assert (seen[0]["machine"], seen[0]["others"], seen[0]["pairs"]) == ("a", ["b", "c"], [["c", "b"]])
    assert "to hand on: results/scores/report.html" in capsys.readouterr().out
    shutil.rmtree(paths.results("scores"))
    with pytest.raises(SystemExit) as ended:
        cli.main([*call, "--json", "--fail-on", "c: surely smd[ell=Yes]>0.1"])
    told = capsys.readouterr()
    assert ended.value.code == cli.FAILED == 3 and "failed: c: surely smd[ell=Yes]>0.1: c, ell = Yes: |smd| 0." in told.err
    assert json.loads(told.out)["failures"][0]["machine"] == "c"
    shutil.rmtree(paths.results("scores"))
    with pytest.raises(SystemExit, match="cannot be read"):
        cli.main([*call, "--fail-on", "smd"])
    assert len(seen) == 2  # a wrong rule is told before anything runs
