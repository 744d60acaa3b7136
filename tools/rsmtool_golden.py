"""Write tests/golden/rsmtool.json: what RSMTool (ETS) computes from stored scores, to hold ours to it.

    python tools/rsmtool_golden.py [--environment build/rsmtool]

Makes a virtual environment of its own, installs RSMTool from PyPI there (its pins are older than ours: numpy < 2, scikit-learn
1.4), and calls RSMTool's own functions in it: Analyzer.metrics_helper (what rsmeval and rsmtool call for their tables), the
four SMDs and the DSM by group, PRMSE, the fairness analyses, trimming. Needs PyPI and some minutes, once; the tests need neither.

The scores: (a) generated here, essays with one, two or three ratings and a real-valued machine; (b) ELLIPSE, the Teacher of
results/ellipse/scores on its test essays with the human scores of the corpus file. Scores and groups are stored, no id, no text.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
FILE = HOME / "tests" / "golden" / "rsmtool.json"
VERSION = "12.0.0"
SMD = {"human": "unpooled", "pooled": "pooled", "johnson": "johnson", "williamson": "williamson"}  # our names, theirs
KEPT = {
    "wtkappa": "qwk",
    "exact_agr": "exact",
    "adj_agr": "adjacent",
    "corr": "r",
    "R2": "r2",
    "RMSE": "rmse",
    "h_sd": "human_sd",
}


def generated() -> dict[str, list]:
    """240 essays on a 1-6 scale: h1 always, h2 on a half, h3 on a tenth; group B is scored 0.4 points too low by the machine."""
    import numpy as np

    rng, n = np.random.default_rng(20), 240
    quality, group = rng.normal(3.5, 1.0, n), rng.choice(["A", "B", "C"], n, p=[0.5, 0.3, 0.2])
    ratings = np.clip(np.rint(quality[:, None] + rng.normal(0, 0.6, (n, 3))), 1, 6)
    ratings[rng.random(n) < 0.5, 1:] = np.nan
    ratings[rng.random(n) < 0.8, 2] = np.nan
    machine = np.round(quality + rng.normal(0, 0.5, n) - 0.4 * (group == "B"), 3)
    found = {f"h{at + 1}": [None if np.isnan(v) else int(v) for v in ratings[:, at]] for at in range(3)}
    return {**found, "machine": machine.tolist(), "group": group.tolist()}


def ellipse(corpus: Path) -> dict[str, list]:
    """The Teacher of the ELLIPSE study on the test essays: human score, most likely score, expected score, groups."""
    import pandas as pd

    given = pd.read_csv(HOME / "results/ellipse/scores/teacher_u10_s1.csv", dtype={"essay_id": str}).query("part == 'test'")
    columns = {"text_id_kaggle": "essay_id", "Overall": "h1", "gender": "gender", "SES": "group"}
    people = pd.read_csv(corpus, dtype={"text_id_kaggle": str}, usecols=list(columns)).rename(columns=columns)
    both = given.merge(people, on="essay_id", validate="one_to_one")
    if len(both) != len(given):
        sys.exit(f"{len(given) - len(both)} test essays are not in {corpus.name}")
    likely = (1 + both["level"] / 2).tolist()
    parts = {name: both[name].tolist() for name in ("h1", "gender", "group")}
    return {**parts, "machine_level": likely, "machine": both["expected"].tolist()}


def computed(scores: dict[str, list]) -> dict:
    """RSMTool's numbers for one set of scores (run inside its environment)."""
    import pandas as pd
    from rsmtool.analyzer import Analyzer
    from rsmtool.fairness_utils import get_fairness_analyses
    from rsmtool.utils.metrics import difference_of_standardized_means as dsm
    from rsmtool.utils.metrics import standardized_mean_difference as smd
    from rsmtool.utils.prmse import prmse_true, true_score_variance, variance_of_errors

    frame, out = pd.DataFrame(scores), {"agreement": {}, "groups": {}, "fairness": {}}
    human = frame["h1"].astype(float)
    for name in [name for name in ("machine", "machine_level", "h2") if name in frame]:
        rows = frame[name].notna()  # RSMTool too compares two people on double-scored essays only
        found = Analyzer.metrics_helper(human[rows], frame.loc[rows, name].astype(float), smd_method="pooled")
        found = {ours: float(found[theirs]) for theirs, ours in KEPT.items()} | {"smd_pooled": float(found["SMD"])}
        out["agreement"][name] = {"n": int(rows.sum()), **found}
    machine, sd = frame["machine"].astype(float), {}
    sd["human"], sd["machine"] = human.std(), machine.std()
    for group, part in [("all", frame), *frame.groupby("group")]:
        h, m = human[part.index], machine[part.index]
        found = {ours: smd(h, m, sd["human"], sd["machine"], method=theirs) for ours, theirs in SMD.items()}
        found["dsm"] = dsm(h, m, human.mean(), machine.mean(), sd["human"], sd["machine"])
        out["groups"][str(group)] = {name: float(value) for name, value in found.items()}
    _, container = get_fairness_analyses(frame.assign(sc1=human), "group", "machine")
    table = container.get_frame("fairness_metrics_by_group")
    for name, short in (("accuracy", "OSA"), ("difference", "OSD"), ("Conditional score difference", "CSD")):
        column = next(c for c in table if c == name or c == f"Overall score {name}")
        out["fairness"][short] = {"r2_adjusted": float(table.loc["R2", column]), "p": float(table.loc["sig", column])}
    if "h2" in frame:
        for raters in (["h1", "h2"], ["h1", "h2", "h3"]):
            ratings = frame[raters].to_numpy(dtype=float)
            error = variance_of_errors(ratings)
            found = [error, true_score_variance(ratings), prmse_true(machine.to_numpy(), ratings)]
            out[f"prmse_{len(raters)}"] = dict(zip(("error_variance", "true_variance", "prmse"), map(float, found), strict=True))
        one, given = human.to_numpy()[:, None], 0.3
        out["prmse_1"] = {"error_variance": given, "prmse": float(prmse_true(machine.to_numpy(), one, given))}
    return out


def rounded() -> dict[str, list]:
    """How RSMTool trims and rounds real-valued scores on a 1-6 scale."""
    import numpy as np
    from rsmtool.preprocessor import FeaturePreprocessor

    values = np.array([0.2, 0.6, 1.49, 1.5, 2.5, 3.5, 3.51, 5.9, 6.4, 7.3])
    trimmed = FeaturePreprocessor().trim(values, 1, 6, 0.4998)
    return {"values": values.tolist(), "trimmed": trimmed.tolist(), "rounded": np.rint(trimmed).tolist()}


def inside(corpus: Path) -> None:
    import numpy
    import rsmtool.version
    import sklearn
    import statsmodels

    sets = {"generated": generated(), "ellipse": ellipse(corpus)}
    versions = {"numpy": numpy.__version__, "scikit-learn": sklearn.__version__, "statsmodels": statsmodels.__version__}
    golden = {"rsmtool": rsmtool.version.__version__, **versions, "rounding": rounded()}
    golden |= {name: {"scores": scores, "found": computed(scores)} for name, scores in sets.items()}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(golden, separators=(",", ":"), allow_nan=False)
    FILE.write_text(text.replace('"found"', '\n"found"').replace('"scores"', '\n"scores"') + "\n", encoding="utf-8")
    print(f"{FILE.relative_to(HOME)}: {FILE.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", type=Path, default=HOME / "build" / "rsmtool", help="where RSMTool is, or will be")
    parser.add_argument("--corpus", type=Path, default=HOME.parent / "shared/data/ellipse/ELLIPSE_Final_github_test.csv")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(options.corpus)
        return
    python = options.environment / "bin" / "python"
    if not python.is_file():
        venv.create(options.environment, with_pip=True)
    try:
        subprocess.run([python, "-c", "import rsmtool"], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"rsmtool=={VERSION}"], check=True)
    subprocess.run([python, __file__, "--inside", "--corpus", options.corpus], check=True)


if __name__ == "__main__":
    main()
