"""One HTML page, complete in one file, that says how good the scores are; it prints on a few sheets."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from cyborg_utils.core import provenance
from cyborg_utils.extensions.labelling import words
from cyborg_utils.extensions.labelling.report import Report
from cyborg_utils.plots import curves, distributions, forest_plots, group_plots
from cyborg_utils.stats import metrics
from cyborg_utils.study.sentences import cell


def render(report: Report, *, files: dict[str, str], done: Sequence[str], fine_tuned: str = "") -> str:
    """The page. `files`: name -> what it holds; `done`: sentences on how it was made; `fine_tuned`: on the fine-tuned Student."""
    around = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    around.filters["marked"] = marked
    template = around.from_string(Path(__file__).with_suffix(".html.j2").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        words=words,
        files=files,
        done=done,
        fine_tuned=fine_tuned,
        commit=provenance.commit(),
        tables=tables(report),
        figures={name: picture(drawn) for name, drawn in figures(report).items()},
    )


def tables(report: Report) -> dict[str, Markup]:
    """The page's tables as HTML."""
    who = report.essays.frame["essay_id"].iloc[report.essays.scored].to_numpy()
    suspects = report.suspects.assign(essay=who[report.suspects["place"]])
    return {
        "agreement": table(
            words.named(report.agreement),
            "system qwk:.3f low:.3f high:.3f exact:.0% adjacent:.0% r:.3f rmse:.2f smd:+z.2f",
        ),
        "differences": table(
            words.named(report.differences), "system baseline difference:+z.3f low:+z.3f high:+z.3f equivalence"
        ),
        "groups": table(
            whole(report.groups),
            "attribute group n:,.0f human_mean:.2f machine_mean:.2f smd:+z.2f smd_low:+z.2f smd_high:+z.2f verdict",
        ),
        "means": table(
            whole(report.means),
            "attribute group n:,.0f scored:,.0f mean:.2f low:.2f high:.2f alone:.2f alone_low:.2f alone_high:.2f",
        ),
        "suspects": table(suspects, "essay score:g teacher:.2f student:.2f p:.2g"),
        "forecast": table(report.forecast, "n:,.0f qwk:.3f low:.3f high:.3f"),
        "without": table(report.essays.without.head(50), "row column reason essay_id"),
    }


def whole(frame: pd.DataFrame) -> pd.DataFrame:
    """A table by groups in which the row of all essays says so."""
    return frame.assign(group=frame["group"].mask(frame["attribute"] == "all", "essays"))


def figures(report: Report) -> dict[str, tuple[Figure, str]]:
    """The page's figures with their alt texts; one that has nothing to show is left out."""
    scale, own = report.essays.scale, report.own
    agreement = report.agreement.assign(arm=report.agreement["system"].map(words.DRAWN))
    words_of = {"xlabel": "QWK with human scores (scored essays, cross-fitted)", "title": "Agreement with people"}
    found = {"agreement": forest_plots.arm_forest(agreement, **words_of)}
    counts = metrics.confusion(scale.level(own.score), own.level, levels=scale.size)
    if scale.size <= 12:
        found["confusion"] = distributions.confusion_matrix({"machine": counts}, scale=scale)
    if (report.groups["attribute"] != "all").any():
        found["groups"] = group_plots.smd_forest(report.groups, limit=report.settings.smd_limit)
    if report.curve is not None:
        found["curve"] = curves.more_scores(report.curve.table(report.settings.confidence), report.forecast)
    return found


def table(frame: pd.DataFrame, shown: str) -> Markup:
    """The columns of a frame that are `shown`, such as "system qwk:.3f" (name and format). Everything is escaped."""
    columns = dict(column.partition(":")[::2] for column in shown.split())
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in columns)
    rows = [[html.escape(cell(row[name], form)) for name, form in columns.items()] for row in frame.to_dict("records")]
    body = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in rows)
    return Markup(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def picture(drawn: tuple[Figure, str]) -> Markup:
    """A figure inside the page."""
    figure, alt = drawn
    with io.BytesIO() as target:
        figure.savefig(target, format="png", dpi=160)
        data = base64.b64encode(target.getvalue()).decode()
    return Markup(f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">')


def marked(text: str) -> Markup:
    """Words between ** become bold; everything else is escaped."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text)))
