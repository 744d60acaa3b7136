"""The command line: `cyborg COMMAND ...`. Every command is one function here that calls one function of a room.

What a command needs is imported inside it, so that `cyborg --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from cyborg_utils.core import caches, config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale

READING = {  # how a file is read, where what is found out is wrong
    "delimiter": "of the columns (default: found out)",
    "encoding": "of the file (default: found out)",
    "quoting": "csv: quotation marks enclose cells; none: they are ordinary characters (default: found out)",
    "decimal": "mark of numbers, . or , (default: found out)",
    "sheet": "of a workbook (default: the first that has rows)",
    "header": "row of the column names (default: found out)",
}
NONE_IS_VALUE = "groups called None, NA or the like are groups, not unknown"
LABEL_COLUMNS = {"id": "essay ids", "text": "essay texts", "score": "human scores", "prompt": "prompts, or their texts"}
LABEL_COLUMNS |= {"writer": "writers of several essays"}
AUDIT = "14_audit_scores"  # the notebook behind `cyborg audit`, and which of its parameters are options
AUDIT_OPTIONS = ("id", "human", "second", "prompt", "weight", "groups", "none_is_value", "scale", "machine_scale")
SCORING = ("condition_codes", "combine", "adjudication", "rater", "unscored")  # of the audit: how people's scores are read
FAILED = 3  # exit code of an audit that breaks a rule of --fail-on; a mistake of the user is 1, an unknown option 2


# ---------------------------------------------------------------- commands: options in, exit code out


def reproduce(options: argparse.Namespace) -> int:
    caches.check()
    from cyborg_utils.run import workflow

    wishes = {name: getattr(options, name) for name in ("profile", "tables", "keep", "cores", "cluster")}
    if options.dry_run:
        call = workflow.command(dry_run=True, **wishes)
        return subprocess.run(call, env=workflow.environment(), check=False).returncode
    workflow.run(**wishes)
    return 0


def plan(options: argparse.Namespace) -> int:
    from cyborg_utils.study import plan as made

    print(made.text(options.profile, *made.of(options.profile, gpu=options.gpu)))
    return 0


def run(options: argparse.Namespace) -> int:
    sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema's check of IRIs, which no notebook has, takes a second to import
    from cyborg_utils.run import devices, execute

    if (options.fraction is None) != (options.seed is None):
        raise CyborgError("--fraction and --seed go together.")
    of_run = None if options.seed is None else config.Run(options.fraction, options.seed)
    promises = {"promised": options.promise, "watched": options.watch, "done": options.done}
    started = time.time()
    with devices.own() if options.gpu else nullcontext():
        copy = execute.execute(options.notebook, options.profile, of_run, **promises)
    print(f"{copy.stem}: {time.time() - started:.0f} s, {paths.shown(copy)}", flush=True)
    return 0


def audit(options: argparse.Namespace) -> int:
    from cyborg_utils.extensions.audit import machines, predictions, report, rules
    from cyborg_utils.run import execute

    file = _file(options)
    name = options.name or predictions.folder_name(file)
    predictions.check_folder(name, file, replace=options.replace)
    asked = [rules.parse(rule, options.machine, options.groups) for rule in options.fail_on]
    given = {key: getattr(options, key) for key in AUDIT_OPTIONS}
    given["reading"] = _reading(options)
    given["scoring"] = {key: getattr(options, key) for key in SCORING if getattr(options, key)}
    given["scoring"] |= {"labels": _labels(options.labels)} if options.labels else {}
    machines.chosen_pairs(options.machine, options.pair)
    machines.load(file, machines=options.machine, **given | {"scale": Scale(*options.scale)})  # faults before a kernel starts
    started = time.time()
    given |= {"machine": options.machine[0], "others": options.machine[1:], "pairs": options.pair}
    values = config.parameters(paths.notebook(AUDIT)) | given | {"file": str(file), "profile": name}
    copy = execute.execute(AUDIT, name, values=values)
    predictions.remove_older(name, started)
    found = report.judged_by(asked, name)
    lines = [f"{paths.shown(copy)}", f"to hand on: {paths.shown(paths.results(name, report.PAGE))}"]
    lines += [f"tables and figures: {paths.shown(paths.results(name))}"]
    print(json.dumps(found, ensure_ascii=False, indent=1) if options.json else "\n".join(lines))
    for failure in found["failures"]:
        print("failed: {rule}: {machine}, {where}: {found}".format(**failure), file=sys.stderr)
    return FAILED if found["failures"] else 0


def score(options: argparse.Namespace) -> int:
    from cyborg_utils.extensions.scoring import predict

    if not 0 < options.confidence < 1:
        raise CyborgError(f"--confidence {options.confidence:g}: must be between 0 and 1.")
    out = Path(options.out)
    if not out.resolve().parent.is_dir():
        raise CyborgError(f"{paths.shown(out)}: its folder is not there. Make it first.")
    file = _file(options)
    columns = predict.Columns(**{name: getattr(options, name) for name in vars(predict.Columns())})
    for note in columns.layout(file).notes:
        print(note)
    predict.count(file, columns)  # a fault is told at once, not after the Student has been loaded
    form = "int8" if options.int8 else "float32" if options.onnx else "torch"
    scorer = predict.Scorer(Path(options.student), confidence=options.confidence, form=form)
    counts = predict.score_file(file, out, scorer, columns)
    rest = ", ".join(f"{name} {number:,}" for name, number in counts.drop(["essays", "unlike"]).items())
    print(f"{counts['essays']:,} essays scored, {counts['unlike']:,} unlike the training essays{f' ({rest})' if rest else ''}")
    print(f"low to high: ±{scorer.width:.2f} around the least-squares value, for {scorer.confidence:.0%} of essays like these")
    print(paths.shown(out))
    return 0


def label(options: argparse.Namespace) -> int:
    from cyborg_utils.extensions.labelling import asked
    from cyborg_utils.extensions.labelling import label as labels

    here = Path(options.file)
    study = options.file if not here.is_file() and options.file in config.profiles() else ""
    if study:
        essays, task = asked.of_study(study), asked.task_of_study(study)
    else:
        wishes = vars(options) | {"labels": _labels(options.labels)}
        essays, task = asked.of_file(_file(options), wishes, _reading(options)), asked.task(wishes)
    out = Path(options.out or f"{study or here.stem}_labelled")
    labels.check_folder(out)
    for note in essays.notes:
        print(note)
    report = labels.label(essays, out, task, name=study or asked.folder_name(here))
    print(asked.told(report, out))
    return 0


def download(options: argparse.Namespace) -> int:
    from cyborg_utils.data import download as downloads

    for path in downloads.corpus(options.corpus):
        print(f"{paths.shown(path)}: ready")
    return 0


def cards(options: argparse.Namespace) -> int:
    from cyborg_utils.extensions.scoring import bundle
    from cyborg_utils.extensions.scoring import cards as made

    bundle.write(options.profile)
    for file in made.write(options.profile):
        print(paths.shown(file))
    return 0


def verify(options: argparse.Namespace) -> int:
    from cyborg_utils.run import verify as checks

    report = checks.compare(options.profile, retrained=options.retrained, against=options.against)
    print("\n".join([*report.differences, report.text]))
    return 0 if report.ok else 1


def exports(options: argparse.Namespace) -> int:
    from cyborg_utils.run import exported
    from cyborg_utils.study import exports as made

    absent, folder = exported.export(options.profile), made.folder(options.profile)
    count = {ending: len(list(folder.glob(f"*.{ending}"))) for ending in ("md", "tex", "svg")}
    print(f"{paths.shown(folder)}: " + ", ".join(f"{number} .{ending}" for ending, number in count.items()))
    if absent:
        print(f"No SVG without their models (`make reproduce PROFILE={options.profile}` draws them): {', '.join(absent)}")
    return 0


def summary(options: argparse.Namespace) -> int:
    from cyborg_utils.study import summary as page

    print(paths.shown(page.write(options.profile)))
    return 0


def site(options: argparse.Namespace) -> int:
    from cyborg_utils.run import site as pages

    print(f"The book: {paths.shown(pages.render(*options.profiles, tolerant=options.tolerant))}")
    return 0


# ---------------------------------------------------------------- the parser


def parser() -> argparse.ArgumentParser:
    """All commands with their options; each help ends in an example."""
    top = argparse.ArgumentParser(prog="cyborg", description="Score essays from few human scores: studies, audits and scoring.")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(does: Callable, summary: str, example: str, *, profile: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(
            does.__name__,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(does=does)
        if profile:
            many = "?" if profile == "demo" else None
            made.add_argument("profile", nargs=many, default="demo", help="a study: a file in params/")
        return made

    does = "run a study, or go on with it; results land in results/PROFILE"
    one = command(reproduce, does, "cyborg reproduce ellipse --keep", profile="demo")
    one.add_argument("--tables", action="store_true", help="only tables and figures that need no model, from the saved scores")
    one.add_argument("--keep", action="store_true", help="train no model whose scores are in results/, and none beyond the paper")
    one.add_argument("--dry-run", action="store_true", help="show what would be done")
    one.add_argument("--cores", default="all", help="how many cores it may use (default: all)")
    one.add_argument("--cluster", default="", help="run its steps as jobs of a cluster: a profile of profiles/, or a folder")

    does = "tell what a study will need, in memory and minutes, before it starts"
    one = command(plan, does, "cyborg plan persuade --gpu h100", profile="demo")
    one.add_argument("--gpu", default="", help="a GPU by its data sheet (h100, a100, 4090, ...) in place of this machine")

    one = command(run, "execute one notebook of a study", "cyborg run 02_finetune_teacher demo --fraction 0.1 --seed 1")
    one.add_argument("notebook", help="its name, e.g. 02_finetune_teacher")
    one.add_argument("profile", help="a study: a file in params/")
    one.add_argument("--fraction", type=float, help="share of human scores, for a notebook of one run")
    one.add_argument("--seed", type=int, help="seed, for a notebook of one run")
    one.add_argument("--promise", action="append", default=[], help="a file or folder that must be there afterwards")
    one.add_argument("--watch", action="append", default=[], help="a file or folder whose loss redoes the step, if there is one")
    one.add_argument("--gpu", action="store_true", help="take one GPU of several that a study runs on (CYBORG_GPUS)")
    one.add_argument("--done", type=Path, help="file to write after success (Snakemake's output)")

    example = "cyborg audit predictions.csv --id id --human score --machine machine --groups gender ell --scale 1 6 1"
    one = command(audit, "audit scores of any machine: agreement, thresholds, fairness; no text, no model", example)
    one.add_argument("file", help="predictions: CSV, TSV, Excel, Parquet or JSON")
    one.add_argument("--id", default="id", help="column of essay ids (default: id)")
    one.add_argument("--human", default="human", help="column of human scores (default: human)")
    told = "column of machine scores (default: machine); several: they are compared"
    one.add_argument("--machine", nargs="+", default=["machine"], help=told)
    told = "two machines to compare; may be repeated (default: each with the first)"
    one.add_argument("--pair", nargs=2, action="append", default=[], metavar=("MACHINE", "BASELINE"), help=told)
    one.add_argument("--second", default="", help="column of a second human score, if there is one")
    one.add_argument("--prompt", default="", help="column of prompts: agreement is judged within prompts, then pooled")
    one.add_argument("--rater", default="", help="column of people, where each row is one person's score of an essay")
    one.add_argument("--combine", choices=["first", "mean"], help="how several people's scores become one (default: first)")
    one.add_argument("--adjudication", default="", help="column of a score that counts in their place, where it is filled")
    one.add_argument("--labels", nargs="*", default=[], metavar="WORD=SCORE", help="scores that are words, such as A=6 B=5")
    one.add_argument("--condition-codes", nargs="*", default=[], help="words that say why there is no score; left out")
    one.add_argument("--unscored", choices=["drop"], help="drop: essays that lack a human or machine score are left out")
    one.add_argument("--weight", default="", help="column of sampling weights")
    one.add_argument("--groups", nargs="*", default=[], help="columns that name groups of writers")
    one.add_argument("--none-is-value", action="store_true", help=NONE_IS_VALUE)
    one.add_argument("--scale", nargs=3, type=float, required=True, metavar=("LOW", "HIGH", "STEP"))
    told = "where the machine's scale is another"
    one.add_argument("--machine-scale", nargs=2, type=float, default=[], metavar=("LOW", "HIGH"), help=told)
    one.add_argument("--name", help="folder in results/ (default: the file's name)")
    one.add_argument("--replace", action="store_true", help="write over the audit of another file in that folder")
    fails = 'end with exit code 3 where a rule holds: "smd>0.1", "qwk<0.7", "surely smd[ell=Yes]>0.1" ...'
    one.add_argument("--fail-on", nargs="+", default=[], metavar="RULE", help=fails)
    one.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")
    _how_to_read(one)

    does = "score the essays of a table in which some are scored, and say on one page how good the scores are"
    one = command(label, does, "cyborg label marks.xlsx --scale 1 6 1 --groups gender --minutes 30")
    one.add_argument("file", help="essays, some with a score: CSV, TSV, Excel, Parquet or JSON; or a study, a file in params/")
    one.add_argument("-o", "--out", default="", help="folder to write (default: the file's name with _labelled, here)")
    for role, told in LABEL_COLUMNS.items():
        one.add_argument(f"--{role}", default="", help=f"column of {told} (default: found out)")
    one.add_argument("--groups", nargs="*", default=[], help="columns that name groups of writers")
    one.add_argument(
        "--scale", nargs=3, type=float, default=[], metavar=("LOW", "HIGH", "STEP"), help="such as 1 6 1 (default: as the scores)"
    )
    one.add_argument("--labels", nargs="*", default=[], metavar="WORD=SCORE", help="scores that are words, such as A=6 B=5")
    one.add_argument("--condition-codes", nargs="*", default=[], help="words that say why there is no score; left out")
    one.add_argument("--none-is-value", action="store_true", help=NONE_IS_VALUE)
    one.add_argument("--markup", default="", choices=["keep", "strip"], help="strip: take HTML out of the essays")
    one.add_argument("--rubric", default="", help="a text file: what the Teacher is told about the scale")
    one.add_argument("--minutes", type=float, default=30.0, help="how long it may take (default: 30)")
    one.add_argument("--teacher", default="", help="another language model: a name, a folder, or a hub id @ revision")
    one.add_argument("--by", default="teacher", choices=["teacher", "student"], help="who scores the essays (default: teacher)")
    wish = "what must hold for essays that no person scores: adjacent 0.95, exact 0.6, or error 0.5 (default: adjacent 0.95)"
    one.add_argument("--promise", nargs=2, default=["adjacent", "0.95"], metavar=("KIND", "VALUE"), help=wish)
    one.add_argument("--sure", type=float, default=0.95, help="confidence of that promise (default: 0.95)")
    one.add_argument("--following", type=int, default=20, help="how many essays to name that people score next (default: 20)")
    one.add_argument("--fine-tune", action="store_true", help="also fine-tune the Student, and say whether it was worth it")
    _how_to_read(one)

    example = "cyborg score essays.csv --student build/ellipse/students/u10_s1/all-minilm-l6-v2-regression-cyborg -o scores.csv"
    one = command(score, "score new essays with a saved Student: score, interval and flags for each", example)
    one.add_argument("file", help="essays: CSV, TSV, Excel, Parquet or JSON; may be larger than memory")
    one.add_argument("--student", required=True, help="folder of a saved Student, made ready by notebook 12")
    one.add_argument("-o", "--out", required=True, help="CSV file to write")
    one.add_argument("--id", default="id", help="column of essay ids (default: id)")
    one.add_argument("--text", default="text", help="column of essay texts (default: text)")
    one.add_argument("--prompt", default="", help="column of the tasks' texts, to find copies of them")
    _how_to_read(one)
    one.add_argument("--confidence", type=float, default=0.90, help="of the intervals (default: 0.90)")
    one.add_argument("--onnx", action="store_true", help="run the Student by onnxruntime, exported on first use")
    one.add_argument("--int8", action="store_true", help="the same with 8-bit weights")

    one = command(download, "fetch a corpus into data/, and check it", "cyborg download ellipse")
    one.add_argument("corpus", help="ellipse, asap2 or persuade")
    command(cards, "write the model cards and the data card of a study anew", "cyborg cards ellipse", profile="needed")
    does = "rebuild a study's tables and figures from its committed scores, and compare them exactly"
    one = command(verify, does, "cyborg verify demo", profile="demo")
    told = "hold the claims of models trained again against the committed ones"
    one.add_argument("--retrained", action="store_true", help=told)
    one.add_argument("--against", default="HEAD", help="the commit to compare with (default: HEAD)")
    does = "tables as LaTeX and Markdown, figures as SVG, in build/PROFILE/exports"
    command(exports, does, "cyborg exports demo", profile="demo")
    command(summary, "write what a study found on one page, results/PROFILE/summary.md", "cyborg summary demo", profile="demo")
    one = command(site, "the book: executed notebooks, docs and a playground as pages with search", "cyborg site demo ellipse")
    one.add_argument("profiles", nargs="*", help="studies, one or several (default: all that have executed notebooks)")
    one.add_argument("--tolerant", action="store_true", help="print Sphinx's warnings, such as a link to nowhere, and go on")
    return top


def _file(options: argparse.Namespace) -> Path:
    """The file that was named: here, or in the project or a data folder."""
    from cyborg_utils.data import files

    here = Path(options.file)
    return here.resolve() if here.is_file() else files.given(options.file)


def _reading(options: argparse.Namespace) -> dict[str, str]:
    """How the file is to be read, as far as it was said."""
    return {key: getattr(options, key) for key in READING if getattr(options, key)}


def _labels(pairs: list[str]) -> dict[str, float]:
    """Scores by the words that stand for them, from `WORD=SCORE`. Raises CyborgError for another form."""
    found = {}
    for pair in pairs:
        word, _, score = pair.rpartition("=")
        try:
            found[word] = float(score)
        except ValueError:
            raise CyborgError(f"--labels {pair[:40]!r}: give words with their scores, such as A=6 B=5.") from None
    return found


def _how_to_read(command: argparse.ArgumentParser) -> None:
    """The options `READING` of a command that reads a person's file."""
    for name, told in READING.items():
        command.add_argument(f"--{name}", default="", help=told)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code; a mistake of the user ends in one message on standard error and code 1."""
    options = parser().parse_args(arguments)
    caches.settle()
    try:
        if code := options.does(options):
            sys.exit(code)
    except CyborgError as error:
        sys.exit(f"\n{error}\n")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from here")
