"""The order of the notebooks, nothing else. `make reproduce PROFILE=demo` calls it (see cyborg_utils/run/workflow.py); by hand:

    .venv/bin/snakemake --directory build/demo --config profile=demo --cores all --resources gpu=1 --rerun-incomplete --dry-run

The same file runs on a cluster, with a profile of profiles/ (`make reproduce CLUSTER=slurm`) in the place of cores and resources.

It works in `build/<profile>`, so that two studies can run at the same time. A step is done when its stamp is there,
`done/<notebook>[_<run>].json`, which `cyborg_utils.run.execute` writes last, with a fingerprint of every file the step made. Those
files are not Snakemake's outputs, because Snakemake deletes the outputs of a step that fails: an adapter that took an hour must
outlive an error in a later cell.
"""

import os
import shlex
import sys
from pathlib import Path

from cyborg_utils.core import config as studies
from cyborg_utils.core import errors, paths
from cyborg_utils.models import recipes
from cyborg_utils.study import artefacts

NOTEBOOKS = {file.stem: file for file in paths.notebooks()}
PROFILE = config.get("profile", "demo")
STUDY = studies.load(PROFILE)
TAUGHT = {run.name: run for run in STUDY.runs}
RUNS = TAUGHT | {run.name: run for run in STUDY.full_runs}
FIRST = STUDY.runs[0].name
CHEAP = bool(config.get("tables"))  # only what needs no model, from the scores in results/<profile>/scores
KEPT = str(config.get("keep", "")).split(",")  # steps that are not done, since their results are there (cyborg_utils/run/freshness.py)
PYTHON = shlex.quote(sys.executable)
EXECUTE = f"{PYTHON} -m cyborg_utils run"
OF_RUN = "--fraction {params.fraction} --seed {params.seed}"
SCORES = os.path.relpath(paths.results(PROFILE, "scores"), paths.build(PROFILE))


def notebook(name):
    return os.path.relpath(NOTEBOOKS[name], paths.build(PROFILE))


def code(*patterns):
    """Files of cyborg_utils that decide a step's numbers: a change to another module does not train a model again."""
    folder = paths.CHECKOUT / "cyborg_utils"
    found = [sorted(folder.glob(pattern)) for pattern in patterns]
    if not all(found):
        raise errors.CyborgError(f"Snakefile: no file of cyborg_utils for one of {patterns}")
    return [os.path.relpath(file, paths.build(PROFILE)) for files in found for file in files]


def section(name, run=None):
    """A notebook's settings, in an order of their own: a change of value redoes the step, a change of place does not."""
    return sorted(STUDY.section(name, RUNS.get(run)).items())


def all_cores():
    """Of this machine, for a step with a model; shared where several GPUs run several. On a cluster: the profile's `set-threads`."""
    return max(1, workflow.cores // int(config.get("gpus", 1)))


def is_light(name, run=None):
    """Whether a step needs little more than one core: a notebook without a model, or a frozen model whose states are there.

    The first run reads the essays, with all cores. Then the other runs find their states in the store, and two go at once.
    """
    if run is None:
        return artefacts.needs(name, STUDY) != "model"
    frozen = STUDY.section("train_student")["heads"] == ["frozen"] and STUDY.section("finetune_teacher")["method"] == "frozen"
    return frozen and run != FIRST


def cores(name, run=None):
    return max(1, workflow.cores // 2) if is_light(name, run) else all_cores()


def done(name, runs=()):
    return [f"done/{name}_{run}.json" for run in runs if f"{name}_{run}" not in KEPT] if runs else f"done/{name}.json"


ANY = code("**/*.py")
CORPUS = code("data/*.py", "data/*.yaml", "core/config.py", "core/parameters.py", "core/scale.py", "stats/metrics.py")
TEACHER = code(*recipes.TEACHER.files, "models/weights.yaml")
STUDENT = code(
    *recipes.STUDENT.files, *recipes.RIDGE.files, "models/cyborg_data.py", "stats/calibration.py", "models/weights.yaml"
)
# notebooks that go beyond the paper, where the study has their section
BEYOND = [] if CHEAP else [name for name in STUDY.beyond if name not in KEPT]
HALF = STUDY.half_scored
MODELS = [] if CHEAP or HALF else done("03_label_essays", TAUGHT) + done("04_train_student", RUNS)


wildcard_constraints:
    run=r"u[\d.]+_s\d+",
    beyond="|".join(BEYOND) or "none",


localrules:
    html,  # seconds of work: no job of its own on a cluster


rule html:
    input:
        done("00_overview"),
        MODELS,
        code("run/site.py", "run/chapters.py", "study/playground.py"),
    output:
        "html/index.html",
    shell:
        "{PYTHON} -m cyborg_utils site {PROFILE} --tolerant"


# ---- notebooks of one run: what decides their numbers, the step before, and what must be there after them
STEPS_OF_RUN = {
    "02_finetune_teacher": (TEACHER, [], "--promise teacher/{run}/adapter"),
    "03_label_essays": (TEACHER, ["done/02_finetune_teacher_{run}.json"], f"--promise {SCORES}/teacher_{{run}}.csv"),
    "04_train_student": (
        STUDENT,
        lambda wildcards: done("03_label_essays", [wildcards.run]) if wildcards.run in TAUGHT else [],
        f"--promise {SCORES}/students_{{run}}.csv --watch students/{{run}}",
    ),
}

for step, (decides, before, promises) in STEPS_OF_RUN.items():

    rule:
        name:
            step[3:]
        input:
            notebook(step),
            decides,
            done("01_prepare_data"),
            before,
            lambda wildcards, step=step: ancient(done("04_train_student", [FIRST])) if is_light(step, wildcards.run) else [],
        output:
            done(step, ["{run}"]),
        params:
            step=step,  # a shell command is put together when it runs, after the loop: what it needs of the loop is a parameter
            promises=promises,
            section=lambda wildcards, step=step: section(step, wildcards.run),
            fraction=lambda wildcards: RUNS[wildcards.run].fraction,
            seed=lambda wildcards: RUNS[wildcards.run].seed,
        threads: lambda wildcards, step=step: cores(step, wildcards.run)
        priority: int(step[:2])
        resources:
            gpu=lambda wildcards, step=step: int(not is_light(step, wildcards.run)),
        shell:
            "{EXECUTE} {params.step} {PROFILE} --gpu " + OF_RUN + " --done {output} {params.promises}"


# ---- notebooks of a whole study without a model, and what they read
AFTER_MODELS = [ANY, done("01_prepare_data"), MODELS]
STEPS_OF_STUDY = {
    "01_prepare_data": [CORPUS],
    "05_test_significance": AFTER_MODELS,
    "06_analyze_bias": AFTER_MODELS,
    "14_audit_scores": AFTER_MODELS,
    "00_overview": [
        ANY,
        [done(name) for name in ("05_test_significance", "06_analyze_bias", "14_audit_scores")],
        [f"done/{name}.json" for name in BEYOND],
    ],
}
PROMISES = {"01_prepare_data": f"--promise essays --promise {SCORES}/essays.csv"}

for step, reads in STEPS_OF_STUDY.items():

    rule:
        name:
            step[3:]
        input:
            notebook(step),
            reads,
        output:
            done(step),
        params:
            step=step,
            promises=PROMISES.get(step, ""),
            section=section(step),
        shell:
            "{EXECUTE} {params.step} {PROFILE} --done {output} {params.promises}"


# ---- notebooks beyond the paper that the study asks for
rule beyond:
    input:
        lambda wildcards: notebook(wildcards.beyond),
        ANY,
        done("01_prepare_data"),
        MODELS,
        # their tables go into the model cards of 12; a change of theirs alone does no other notebook again
        lambda wildcards: [
            ancient(done(name))
            for name in ("05_test_significance", "06_analyze_bias")
            if wildcards.beyond == "12_score_essays" and not HALF
        ],
        # the speed of a Student and of its ONNX forms is measured by 12
        lambda wildcards: [done(name) for name in BEYOND if (wildcards.beyond, name) == ("11_cost", "12_score_essays")],
    output:
        "done/{beyond}.json",
    params:
        section=lambda wildcards: section(wildcards.beyond),
    threads: lambda wildcards: cores(wildcards.beyond)
    resources:
        gpu=lambda wildcards: int(not is_light(wildcards.beyond)),
    shell:
        "{EXECUTE} {wildcards.beyond} {PROFILE} --gpu --done {output}"
