"""Is a saved Student worth putting to use? The checks of notebook 12 on the test essays, as tables and sentences."""

from __future__ import annotations

import pandas as pd

from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.scoring import advisory_flags
from cyborg_utils.extensions.scoring.bundle import Name
from cyborg_utils.extensions.scoring.deferral import held
from cyborg_utils.extensions.scoring.predict import Scorer
from cyborg_utils.stats import conformal, metrics
from cyborg_utils.stats.calibration import MeanSdMatch
from cyborg_utils.study import arms, scores


def facts(scorer: Scorer) -> pd.DataFrame:
    """What goes with a Student besides its weights: one row a fact, the column named after its labels."""
    ready, corpus = scorer.release, scorer.release.corpus
    rows = {
        "matched score": _line(ready.match),
        "least-squares value": _line(ready.line),
        "development essays": f"{len(ready.line.residuals):,}",
        f"half-width of a {scorer.confidence:.0%} interval": f"{scorer.width:.2f} points",
        "usual length": f"{corpus.shortest:.0f} to {corpus.longest:.0f} words ({corpus.essays:,} training essays)",
        "words known": f"{len(corpus.words):,}; usually at most {corpus.unknown:.0%} of an essay's words are new",
        "prompts' texts": f"{len(corpus.runs):,} runs of {advisory_flags.RUN} words",
    }
    if not corpus.runs:
        rows["prompts' texts"] = "none here: copies are not found"
    return pd.DataFrame(rows.items(), columns=["", ready.name.labels])


def _line(fitted: MeanSdMatch | conformal.LeastSquares) -> str:
    return f"{fitted.target_mean:.2f} + {fitted.slope:.2f} × (value − {fitted.value_mean:.2f})"


def beside_saved(profile: str, name: Name, test: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
    """Test essays with what `predict.score_file` gave them (`scored`) and the `matched_value` that notebook 04 saved."""
    saved = arms.pick(scores.students(profile), part="test", run=name.run, student=name.model, head=name.head, labels=name.labels)
    both = test.merge(scored, left_on="essay_id", right_on="id", suffixes=("", "_given"))
    return both.merge(saved[["essay_id", "matched_value"]], on="essay_id")


def same_student(both: pd.DataFrame, scale: Scale) -> str:
    """How far the scores are from notebook 04's, and how well they agree with people; `both` as `beside_saved` gives it."""
    apart = (both["value"] - both["matched_value"]).abs().max()
    agreed = metrics.agreement_metrics(both["score"], both["value"], scale)
    return (
        f"{len(both):,} essays: values differ from notebook 04's by at most **{apart:.3f}** points. "
        f"Against people: QWK **{agreed['qwk']:.3f}**, exact {agreed['exact']:.0%}, adjacent {agreed['adjacent']:.0%}."
    )


def minus_promise(coverage: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The frame of `conformal.coverage` with gap, gap_low, gap_high: coverage minus what was promised, for a figure."""
    return coverage.assign(**{f"gap{end}": coverage[f"coverage{end}"] - confidence for end in ("", "_low", "_high")})


def promise_kept(coverage: pd.DataFrame, scorer: Scorer, both: pd.DataFrame) -> str:
    """Promised and measured coverage, what is to be expected of so few essays, and for whom it is too low or too high.

    `both` as `beside_saved` gives it: how many scores lie outside of their own intervals.
    """
    every, n, scale = coverage.iloc[0], len(scorer.release.line.residuals), scorer.student.scale
    outside = 1 - both["score_given"].between(both["low"] - 1e-4, both["high"] + 1e-4).mean()
    low, high = conformal.expected_range(n, scorer.confidence)
    lines = [
        f"Promised {scorer.confidence:.0%}, found **{held(every)}**. With {n:,} development essays anything from {low:.1%} to "
        f"{high:.1%} is to be expected.",
        f"The interval is **{every['width']:.2f} points** wide on a scale from {scale.low:g} to {scale.high:g}. It lies around "
        f"the least-squares value; {outside:.1%} of the scores given, which are spread as people's are, lie outside of theirs.",
    ]
    for verdict in ("too low", "too high"):
        rows = arms.pick(coverage[1:], verdict=verdict)
        groups = ", ".join(f"{row.attribute} {row.group} ({row.coverage:.0%})" for row in rows.itertuples())
        lines.append(f"Coverage {verdict}: {groups or 'no score or group'}.")
    return "\n".join(f"- {line}" for line in lines)


def learned(scorer: Scorer, coverage: pd.DataFrame, table_flags: pd.DataFrame, table_onnx: pd.DataFrame) -> str:
    """What the notebook found: the interval and its coverage, flags, the int8 file."""
    judged = coverage[(coverage["verdict"] != "too few") & (coverage["attribute"] == "human score")].sort_values("coverage")
    least = "".join(f", and {row.coverage:.0%} of those that people gave a {row.group}" for row in judged.head(1).itertuples())
    found, missed = advisory_flags.found_and_missed(table_flags)
    small = table_onnx.set_index("form").loc["onnx int8"]
    size, changed = small["megabytes"] / table_onnx["megabytes"].iloc[0], 1 - small["same_score"]
    return (
        f"A {scorer.confidence:.0%} interval around this Student's least-squares value is **±{scorer.width:.2f} points** and "
        f"holds the human score of **{held(coverage.iloc[0])}** of test essays{least}: what is promised is an average over all. "
        f"Flags mark {table_flags['flagged'].iloc[0]:.1%} of the test essays by mistake; of {len(table_flags) - 1} kinds of bad "
        f"essays they find {len(found)} (9 in 10 essays or more) and miss {len(missed)} (more than half of the essays). The int8 "
        f"file has {size:.0%} of the size of PyTorch's and changes {changed:.0%} of the scores."
    )
