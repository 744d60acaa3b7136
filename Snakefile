"""The order of the notebooks, nothing else. `make reproduce PROFILE=demo` calls it (see cyborg_utils/run/workflow.py); by hand:

    .venv/bin/snakemake --directory build/demo --config profile=demo --cores all --resources gpu=1 --rerun-incomplete --dry-run

The same file runs on a cluster, with a profile of profiles/ (`make reproduce CLUSTER=slurm`) in the place of cores and resources.

It works in `build/<profile>`, so that two studies can run at the same time. A step is done when its stamp is there,
`done/<notebook>[_<run>].json`, which `cyborg_utils.run.execute` writes last, with a fingerprint of every file the step made. Those
files are not Snakemake's outputs, because Snakemake deletes the outputs of a step that fails: an adapter that took an hour must
outlive an error in a later cell.
"""

import os
import sys
from pathlib import Path

from cyborg_utils.core import config as studies
from cyborg_utils.core import errors, paths

NOTEBOOKS = {file.stem: file for file in paths.notebooks()}
PROFILE = config.get("profile", "demo")
STUDY = studies.load(PROFILE)
TAUGHT = {run.name: run for run in STUDY.runs}
RUNS = TAUGHT | {run.name: run for run in STUDY.full_runs}
CHEAP = bool(config.get("tables"))  # only what needs no model, from the scores in results/<profile>/scores
KEPT = str(config.get("keep", "")).split(",")  # steps that are not done, since their results are there (cyborg_utils/run/freshness.py)
EXECUTE = f"'{sys.executable}' -m cyborg_utils.run.execute"
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


def all_cores(wildcards):
    """Of this machine, for a step with a model. On a cluster the profile says how many instead (`set-threads`)."""
    return workflow.cores


def done(name, runs=()):
    return [f"done/{name}_{run}.json" for run in runs if f"{name}_{run}" not in KEPT] if runs else f"done/{name}.json"


ANY = code("**/*.py")
CORPUS = code("data/*.py", "data/*.yaml", "core/config.py", "core/scale.py", "stats/metrics.py")
BOTH = ("models/cpu_attention.py", "models/trainer.py", "core/scale.py", "models/weights.yaml")
TEACHER = code("models/teacher.py", "models/prompt.py", "models/prompts/*", *BOTH)
STUDENT = code("models/student.py", "models/baseline.py", "models/cyborg_data.py", "stats/calibration.py", *BOTH)
# notebooks that go beyond the paper, where the study has their section
BEYOND = [] if CHEAP else [name for name in STUDY.beyond if name not in KEPT]
MODELS = [] if CHEAP else done("03_label_essays", TAUGHT) + done("04_train_student", RUNS)


wildcard_constraints:
    run=r"u[\d.]+_s\d+",
    beyond="|".join(BEYOND) or "none",


localrules:
    html,  # seconds of work: no job of its own on a cluster


rule html:
    input:
        done("00_overview"),
        MODELS,
        code("run/site.py", "run/site.html.j2"),
    output:
        "html/index.html",
    shell:
        "'{sys.executable}' -m cyborg_utils.run.site {PROFILE}"


rule prepare_data:
    input:
        notebook("01_prepare_data"),
        CORPUS,
    output:
        done("01_prepare_data"),
    params:
        section=section("prepare_data"),
    shell:
        "{EXECUTE} 01_prepare_data {PROFILE} --done {output} --promise essays --promise {SCORES}/essays.csv"


rule finetune_teacher:
    input:
        notebook("02_finetune_teacher"),
        TEACHER,
        done("01_prepare_data"),
    output:
        done("02_finetune_teacher", ["{run}"]),
    params:
        section=lambda wildcards: section("finetune_teacher", wildcards.run),
        fraction=lambda wildcards: RUNS[wildcards.run].fraction,
        seed=lambda wildcards: RUNS[wildcards.run].seed,
    threads: all_cores
    priority: 1
    resources:
        gpu=1,
    shell:
        "{EXECUTE} 02_finetune_teacher {PROFILE} " + OF_RUN + " --done {output} --promise teacher/{wildcards.run}/adapter"


rule label_essays:
    input:
        notebook("03_label_essays"),
        TEACHER,
        done("02_finetune_teacher", ["{run}"]),
    output:
        done("03_label_essays", ["{run}"]),
    params:
        section=section("label_essays"),
        fraction=lambda wildcards: RUNS[wildcards.run].fraction,
        seed=lambda wildcards: RUNS[wildcards.run].seed,
    threads: all_cores
    priority: 2
    resources:
        gpu=1,
    shell:
        "{EXECUTE} 03_label_essays {PROFILE} " + OF_RUN + " --done {output} --promise {SCORES}/teacher_{wildcards.run}.csv"


rule train_student:
    input:
        notebook("04_train_student"),
        STUDENT,
        done("01_prepare_data"),
        lambda wildcards: done("03_label_essays", [wildcards.run]) if wildcards.run in TAUGHT else [],
    output:
        done("04_train_student", ["{run}"]),
    params:
        section=section("train_student"),
        fraction=lambda wildcards: RUNS[wildcards.run].fraction,
        seed=lambda wildcards: RUNS[wildcards.run].seed,
    threads: all_cores
    priority: 3
    resources:
        gpu=1,
    shell:
        "{EXECUTE} 04_train_student {PROFILE} " + OF_RUN + " --done {output} --promise {SCORES}/students_{wildcards.run}.csv"
        " --watch students/{wildcards.run}"


rule test_significance:
    input:
        notebook("05_test_significance"),
        ANY,
        done("01_prepare_data"),
        MODELS,
    output:
        done("05_test_significance"),
    params:
        section=section("test_significance"),
    shell:
        "{EXECUTE} 05_test_significance {PROFILE} --done {output}"


rule analyze_bias:
    input:
        notebook("06_analyze_bias"),
        ANY,
        done("01_prepare_data"),
        MODELS,
    output:
        done("06_analyze_bias"),
    params:
        section=section("analyze_bias"),
    shell:
        "{EXECUTE} 06_analyze_bias {PROFILE} --done {output}"


rule audit_scores:
    input:
        notebook("14_audit_scores"),
        ANY,
        done("01_prepare_data"),
        MODELS,
    output:
        done("14_audit_scores"),
    params:
        section=section("audit_scores"),
    shell:
        "{EXECUTE} 14_audit_scores {PROFILE} --done {output}"


rule beyond:
    input:
        lambda wildcards: notebook(wildcards.beyond),
        ANY,
        done("01_prepare_data"),
        MODELS,
        # their tables go into the model cards of 12; a change of theirs alone trains no model of 08 or 09 again
        ancient(done("05_test_significance")),
        ancient(done("06_analyze_bias")),
    output:
        "done/{beyond}.json",
    params:
        section=lambda wildcards: section(wildcards.beyond),
    threads: all_cores
    resources:
        gpu=1,
    shell:
        "{EXECUTE} {wildcards.beyond} {PROFILE} --done {output}"


rule overview:
    input:
        notebook("00_overview"),
        ANY,
        done("05_test_significance"),
        done("06_analyze_bias"),
        done("14_audit_scores"),
        [f"done/{name}.json" for name in BEYOND],
    output:
        done("00_overview"),
    shell:
        "{EXECUTE} 00_overview {PROFILE} --done {output}"
