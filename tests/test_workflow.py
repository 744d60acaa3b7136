"""The order of the notebooks, what a change redoes, and what `make` says."""

import json
import re
import shutil
import subprocess
import sys

import corpus_samples
import nbformat
import pytest
import yaml
from conftest import CHECKOUT, PROFILES
from snakemake.cli import main as snakemake

from cyborg_utils.core import config, parameters, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora
from cyborg_utils.run import freshness, workflow
from cyborg_utils.study import artefacts

NOTEBOOKS = {entry["notebook"] for entry in artefacts.registry().values()}


@pytest.fixture
def plan(project, monkeypatch, capfd):
    """A function that gives the jobs that Snakemake would run for a study: {rule: number}, {} for nothing."""
    monkeypatch.chdir(project)

    def jobs(profile, **options):
        call = workflow.command(profile, dry_run=True, **options)
        with pytest.raises(SystemExit) as ended:
            snakemake(call[call.index("snakemake") + 1 :])
        monkeypatch.chdir(project)
        said = "".join(capfd.readouterr())
        assert ended.value.code == 0, said
        found = {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", said, flags=re.MULTILINE)}
        assert found or "Nothing to be done" in said, said
        found.pop("total", None)
        return found

    return jobs


@pytest.mark.parametrize("profile", PROFILES)
def test_every_study_has_all_its_steps(plan, profile):
    study = config.load(profile)
    if study.half_scored:
        assert plan(profile) == {"prepare_data": 1, "beyond": 1}
        return
    full = len(study.seeds) if "full" in study.section("train_student")["labels"] else 0
    assert plan(profile) == {
        "prepare_data": 1,
        "finetune_teacher": len(study.runs),
        "label_essays": len(study.runs),
        "train_student": len(study.runs) + full,
        "test_significance": 1,
        "analyze_bias": 1,
        "audit_scores": 1,
        **({"beyond": len(study.beyond)} if study.beyond else {}),
        "overview": 1,
        "html": 1,
    }


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS))
def test_every_notebook_takes_its_parameters_from_every_study(profile, notebook):
    if notebook[3:] not in config.load(profile).sections and notebook != "00_overview":
        with pytest.raises(CyborgError, match="which the study does not give"):
            config.compose(notebook, profile)
        return
    of_run = notebook[:2] in ("02", "03", "04")
    values = config.compose(notebook, profile, config.load(profile).runs[0] if of_run else None)
    assert values["profile"] == profile
    assert ("seed" in values) == of_run


def test_tables_need_no_model(plan, make_study):
    make_study("try")
    assert set(plan("try", tables=True)) == {"prepare_data", *JUDGED}


@pytest.fixture
def finished(project, plan, make_study, monkeypatch):
    """A study whose every step Snakemake has run, with a stand-in for Python that writes nothing but the stamp."""
    make_study("try", calibrate_student={"draws": 100})
    stand_in = project / "python"
    stand_in.write_text(
        f'#!/bin/sh\necho "$*" >> {project}/calls\n'
        'while [ $# -gt 1 ] && [ "$1" != --done ]; do shift; done\necho "{\\"made\\": {}}" > "${2:-html/index.html}"\n'
    )
    stand_in.chmod(0o755)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "executable", str(stand_in))
        paths.build("try", "html").mkdir(parents=True)
        call = workflow.command("try")
        snakemake(call[call.index("snakemake") + 1 :])
    assert ended.value.code == 0
    assert len(list(paths.build("try", "done").iterdir())) == 10
    calls = (project / "calls").read_text(encoding="utf-8")
    steps = re.findall(r"^-m cyborg_utils run (\w+) try .*--done done/(\w+?)(?:_u[\d.]+_s\d+)?\.json", calls, flags=re.MULTILINE)
    assert len(steps) == 10 and all(notebook == stamp for notebook, stamp in steps), calls
    assert calls.count("--promise") == 6 and "--watch students/u10_s1" in calls and "teacher/u10_s1/adapter" in calls
    assert plan("try") == {}
    return "try"


LAST = {"overview": 1, "html": 1}
JUDGED = {"test_significance": 1, "analyze_bias": 1, "audit_scores": 1, **LAST}
PAPER = {"title", "note", "runs", "prepare_data", "finetune_teacher", "train_student", "test_significance", "analyze_bias"}
BEYOND = {"beyond": 1}  # the study that is `finished` asks for one notebook more
TRAINED = {"train_student": 2, **JUDGED, **BEYOND}


@pytest.mark.parametrize(
    "section, key, value, redone",
    [
        ("test_significance", "margin", 0.1, {"test_significance": 1, **LAST}),
        ("analyze_bias", "min_group", 20, {"analyze_bias": 1, **LAST}),
        ("calibrate_student", "draws", 99, {"beyond": 1, **LAST}),
        ("train_student", "epochs", 9, TRAINED),
        ("finetune_teacher", "epochs", 9, {"finetune_teacher": 1, "label_essays": 1, **TRAINED, "train_student": 1}),
        ("prepare_data", "split_seed", 9, {"prepare_data": 1, "finetune_teacher": 1, "label_essays": 1, **TRAINED}),
    ],
)
def test_a_changed_value_redoes_what_it_affects(project, plan, finished, section, key, value, redone):
    file = project / "params" / "try.yaml"
    study = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert study[section].get(key) != value
    study[section][key] = value
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    assert plan(finished) == redone


def test_words_about_the_study_redo_nothing(project, plan, finished):
    file = project / "params" / "try.yaml"
    file.write_text("# a comment\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert plan(finished) == {}


def test_a_changed_notebook_redoes_its_step_and_a_touched_one_does_not(project, plan, finished):
    notebook = project / "notebooks" / "06_analyze_bias.ipynb"
    notebook.touch()
    assert plan(finished) == {}
    notebook.write_text("changed")
    assert plan(finished) == {"analyze_bias": 1, **LAST}


def test_a_new_seed_adds_its_run_and_keeps_the_others(project, plan, finished, make_study):
    make_study("try", runs=[{"fraction": 0.1, "seeds": [1, 2]}], calibrate_student={"draws": 100})
    assert plan(finished) == {"finetune_teacher": 1, "label_essays": 1, **TRAINED}


def test_a_run_whose_own_epochs_change_is_done_again(plan, finished, make_study):
    runs = [{"fraction": 0.1, "seeds": [1], "epochs": 2}]
    make_study("try", runs=runs, calibrate_student={"draws": 100})
    assert plan(finished) == {"finetune_teacher": 1, "label_essays": 1, **TRAINED, "train_student": 1}


def test_a_step_whose_stamp_is_gone_is_done_again(plan, finished):
    paths.build("try", "done", "04_train_student_u10_s1.json").unlink()
    assert plan(finished) == {**TRAINED, "train_student": 1}


@pytest.fixture
def cloned(project, plan, make_study):
    """A clone's study: the scores of its one run and their records are in results, nothing is in build."""
    make_study("try", calibrate_student={"penalty_seeds": []}, score_essays={}, attack_scorer={}, score_traits={}, cost={})
    run = config.load("try").runs[0]
    for notebook, kind in (("02_finetune_teacher", ""), ("03_label_essays", "teacher"), ("04_train_student", "students")):
        scores = [paths.results("try", "scores", f"{kind}_{run.name}.csv")] if kind else []
        for file in scores:
            artefacts.write(file, "essay_id\n1\n")
        values = config.compose(notebook, "try", run)
        artefacts.write_record("try", notebook, run.name, parameters=values, inputs=scores)
    return "try"


def test_a_study_goes_on_from_a_clone(plan, cloned):
    """With `keep` only what the clone has no scores of is done: here the Student on all human scores."""
    left = {"prepare_data": 1, "train_student": 1, **JUDGED, "beyond": 2}
    assert plan(cloned, keep=True) == left
    assert plan(cloned) == left | {"finetune_teacher": 1, "label_essays": 1, "train_student": 2, "beyond": 5}


def test_a_clone_leaves_out_what_needs_models_and_says_so(cloned, make_study):
    """07 without penalties and 11 compute from scores; 08 trains Teachers; 12 and 13 load a Student that is not there."""
    without = ["08_score_traits", "12_score_essays", "13_attack_scorer"]
    assert freshness.left_out(cloned, freshness.kept(cloned)) == dict.fromkeys(without, False)
    assert freshness.left_out(cloned, []) == {}  # where no step is kept all models are made here
    (said,) = workflow._without(cloned)
    assert ", ".join(without) in said and "`make reproduce PROFILE=try` makes these models" in said


def test_a_clone_with_models_or_with_a_run_to_train_scores_and_attacks(plan, cloned, make_study):
    paths.build(cloned, "students", "u10_s1").mkdir(parents=True)
    assert "12_score_essays" not in freshness.left_out(cloned, freshness.kept(cloned))
    assert "13_attack_scorer" in freshness.left_out(cloned, freshness.kept(cloned))  # the Teacher is not there
    shutil.rmtree(paths.build(cloned, "students"))
    make_study(cloned, runs=[{"fraction": 0.1, "seeds": [1, 2]}], score_essays={}, attack_scorer={"run": "u10_s1"})
    assert list(freshness.left_out(cloned, freshness.kept(cloned))) == ["13_attack_scorer"]  # 12 takes the Student of seed 2
    assert plan(cloned, keep=True) == TRAINED | {"prepare_data": 1, "finetune_teacher": 1, "label_essays": 1, "train_student": 3}


def test_a_clone_says_nothing_of_a_notebook_whose_results_are_there(cloned):
    values = config.compose("12_score_essays", cloned)
    artefacts.write_record(cloned, "12_score_essays", parameters=values)
    assert "12_score_essays" in workflow._without(cloned)[0]  # its tables are not there
    for file in (file for name in artefacts.expected("12_score_essays") for file in artefacts.files(cloned, name)):
        artefacts.write(file, "x")
    assert "12_score_essays" not in workflow._without(cloned)[0]
    artefacts.write_record(cloned, "12_score_essays", parameters=values | {"confidence": 0.5})
    assert "12_score_essays" in workflow._without(cloned)[0]


@pytest.mark.parametrize("needs, planned", [({}, True), ({"trains_unless": {"draws": 5}}, True), ({"trains_unless": {}}, False)])
def test_a_new_notebook_touches_three_files(plan, cloned, make_study, make_notebook, project, monkeypatch, needs, planned):
    """The notebook (which declares the models it needs), its section in `core/parameters`, and its artefacts."""
    notebook = make_notebook("extensions/15_count_words", "profile: str = 'demo'\ndraws: int = 1")
    content = nbformat.read(notebook, as_version=4)
    content.metadata["cyborg"] = needs
    nbformat.write(content, notebook)

    class CountWords(parameters.Section):
        beyond_paper = True
        draws: int = 5

    class File(parameters.StudyFile):
        count_words: CountWords = parameters.left_out("its notebook is executed only where it is given")

    monkeypatch.setattr(config, "StudyFile", File)
    monkeypatch.setattr(config, "SECTIONS", parameters.SECTIONS | {"count_words": CountWords})
    registry = project / "params" / "artefacts.yaml"
    entry = "table_words: {kind: table, notebook: 15_count_words, paper: ours, title: Words}"
    registry.write_text(registry.read_text(encoding="utf-8") + f"\n{entry}\n", encoding="utf-8")
    file = project / "params" / f"{cloned}.yaml"
    study = {name: values for name, values in yaml.safe_load(file.read_text(encoding="utf-8")).items() if name in PAPER}
    file.write_text(yaml.safe_dump(study | {"count_words": {}}), encoding="utf-8")
    assert config.compose("15_count_words", cloned) == {"profile": cloned, "draws": 5}
    assert artefacts.expected("15_count_words") == ["table_words"]
    assert "done/15_count_words.json" in workflow.command(cloned) and plan(cloned)["beyond"] == 1
    assert ("done/15_count_words.json" in workflow.command(cloned, keep=True)) == planned


# ---- essays and rubrics that change


@pytest.fixture
def own_essays(project, cloned, make_study):
    """The study with a file of essays and a rubric of its own, after all its steps; returns the file."""
    file = project / "data" / "own.csv"
    options = {"file": "own.csv", "id": "no", "text": "body", "rubric": "data/rubric.txt"}
    make_study(cloned, prepare_data=corpus_samples.settings("table", options=options))
    corpus_samples.write_csv(file, corpus_samples.own(60))
    (project / "data" / "rubric.txt").write_text("Weigh the reasons.")
    prepared = corpora.prepare(cloned)
    artefacts.write_record(cloned, "01_prepare_data", parameters={}, inputs=prepared.sources)
    for step in workflow.steps(config.load(cloned)):
        artefacts.write(paths.build(cloned, "done", f"{step}.json"), '{"made": {}}')
    return file


def test_changed_essays_and_rubrics_are_noticed(own_essays, plan, cloned, project):
    assert freshness.forget_changed_essays(cloned) == []
    for file, old, new in ((own_essays, ",3,", ",4,"), (project / "data" / "rubric.txt", "reasons", "spelling")):
        before = file.read_text(encoding="utf-8")
        assert old in before
        file.write_text(before.replace(old, new, 1), encoding="utf-8")
        stamps, records = (file.parent for file in (paths.build(cloned, "done", "x"), artefacts.record_file(cloned, "x")))
        kept = [(file, file.read_bytes()) for file in [*stamps.iterdir(), *records.glob("0[234]*")]]
        (said,) = freshness.forget_changed_essays(cloned)
        assert "data/own.csv, data/rubric.txt: not what results/try/records/01_prepare_data.json was made from" in said
        assert not [*stamps.iterdir()] and freshness.kept(cloned) == []
        assert plan(cloned, keep=True)["finetune_teacher"] == 1
        assert freshness.forget_changed_essays(cloned) == []  # there is nothing more to forget
        file.write_text(before, encoding="utf-8")
        for path, content in kept:
            path.write_bytes(content)


@pytest.mark.parametrize("change, said", [({"dev": 0.3}, "dev"), ({"scale": [1, 8, 1]}, "scale"), ({}, ""), ({"groups": []}, "")])
def test_changed_splits_are_noticed_and_other_groups_keep_the_scores(own_essays, cloned, make_study, change, said):
    values = config.compose("01_prepare_data", cloned)
    inputs = json.loads(artefacts.record_file(cloned, "01_prepare_data").read_text())["inputs"]
    artefacts.write_record(cloned, "01_prepare_data", parameters=values)
    record = artefacts.record_file(cloned, "01_prepare_data")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"inputs": inputs}))
    make_study(cloned, prepare_data={name: values[name] for name in values if name != "profile"} | change)
    told = freshness.forget_changed_essays(cloned)
    assert [f"params/{cloned}.yaml: prepare_data: {said}:" in line for line in told] == ([True] if said else [])
    assert bool([*record.parent.glob("0[234]*")]) == (not said)


def test_unchanged_essays_are_read_once_and_found_elsewhere(own_essays, cloned, project, monkeypatch):
    read = []
    sha256 = provenance.sha256
    monkeypatch.setattr(provenance, "sha256", lambda file: (read.append(file.name), sha256(file))[1])
    for _ in range(2):
        assert freshness.forget_changed_essays(cloned) == []
    assert read == ["own.csv", "rubric.txt"]
    own_essays.touch()
    (project.parent / "elsewhere").mkdir()
    monkeypatch.setenv("CYBORG_DATA_DIR", str(project.parent / "elsewhere"))
    own_essays.rename(project.parent / "elsewhere" / "own.csv")
    assert freshness.forget_changed_essays(cloned) == [] and len(read) == 4
    (project.parent / "elsewhere" / "own.csv").unlink()
    assert freshness.forget_changed_essays(cloned) == []  # a prepared study does not need them
    assert len([*paths.build(cloned, "done").iterdir()]) == len(workflow.steps(config.load(cloned)))


@pytest.mark.parametrize("section, redone", [("finetune_teacher", 3), ("train_student", 1)])
def test_scores_made_with_other_settings_are_not_kept(plan, cloned, make_study, section, redone):
    make_study(cloned, **{section: {"epochs": 9}})
    assert len(freshness.kept(cloned)) == 3 - redone
    jobs = plan(cloned, keep=True)
    assert sum(jobs.get(rule, 0) for rule in ("finetune_teacher", "label_essays", "train_student")) == 1 + redone


@pytest.mark.parametrize("kind, left", [("teacher", 1), ("students", 2)])
def test_scores_changed_since_their_record_are_not_kept(plan, cloned, kind, left):
    paths.results(cloned, "scores", f"{kind}_u10_s1.csv").write_text("essay_id\n2\n")
    assert len(freshness.kept(cloned)) == left
    if kind == "teacher":  # 03 is done again, so it needs the adapter, which a clone does not have
        assert plan(cloned, keep=True)["finetune_teacher"] == 1


# ---- what the caller is told


def test_the_last_three_lines_of_a_run_say_what_was_done_and_found_and_where(capsys):
    workflow._tell("demo", ["05_test_significance"], 61.0)
    done, found, where = capsys.readouterr().out.splitlines()[-3:]
    table = artefacts.read_table("demo", "table_comparisons")
    row = table.query("student == 'all-minilm-l6-v2' and head == 'frozen' and system == 'cyborg' and baseline == 'human'").iloc[0]
    assert done.startswith("Done: 1 step(s) in 61 s. ") and done.endswith(f"Students scored {row.n:,} simulated test essays.")
    assert f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}], beyond chance." in found
    assert where.startswith("Look at build/demo/html/index.html; ")
    workflow._tell("demo", [], 1.0)
    assert capsys.readouterr().out.splitlines()[1] == found


@pytest.fixture
def pretended(make_study, monkeypatch):
    """A study whose Snakemake is replaced by a few lines of Python."""
    make_study("try")

    def pretend(code):
        monkeypatch.setattr(workflow, "command", lambda *_, **__: [sys.executable, "-c", code])

    return pretend


def test_nothing_to_do_is_said(pretended, capsys):
    pretended("pass")
    assert workflow.run("try") is False
    assert (
        "Nothing to do: every notebook of the study 'try' is up to date.\nLook at build/try/html/index.html"
        in capsys.readouterr().out
    )


def test_the_steps_done_are_told_with_time_and_memory(pretended, capsys):
    stamp, record = paths.build("try", "done", "01_prepare_data.json"), artefacts.record_file("try", "01_prepare_data")
    content = {"notebook": "01_prepare_data", "run": "", "seconds": 12.3, "peak_memory_gib": 1.25}
    for file in (stamp, record):
        file.parent.mkdir(parents=True)
    pretended(f"open({str(stamp)!r}, 'w').write('{{}}'); open({str(record)!r}, 'w').write({json.dumps(content)!r})")
    assert workflow.run("try") is True
    said = capsys.readouterr().out
    assert re.search(r"^01_prepare_data +1 +12 +1\.25 GiB$", said, flags=re.MULTILINE)
    done, where = said.strip().splitlines()[-2:]  # no number before notebook 05 has run
    assert re.fullmatch(r"Done: 1 step\(s\) in \d+ s\.", done)
    assert where == "Look at build/try/html/index.html; tables, figures and executed notebooks are in results/try"


def test_uncommitted_sources_are_told_at_the_start_and_at_the_end(pretended, monkeypatch, capsys):
    stamp, record = paths.build("try", "done", "01_prepare_data.json"), artefacts.record_file("try", "01_prepare_data")
    content = {"notebook": "01_prepare_data", "run": "", "seconds": 1.0, "peak_memory_gib": 1.0, "commit": "abc-dirty"}
    for file in (stamp, record):
        file.parent.mkdir(parents=True)
    monkeypatch.setattr(provenance, "warning", lambda: "Uncommitted sources (x.py).")
    pretended(f"open({str(stamp)!r}, 'w').write('{{}}'); open({str(record)!r}, 'w').write({json.dumps(content)!r})")
    assert workflow.run("try") is True
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == "Uncommitted sources (x.py)."
    assert lines[-7] == "From uncommitted sources, so no commit repeats them: 01_prepare_data. Do not commit these results."


def test_a_failed_step_is_a_failure(pretended):
    pretended("raise SystemExit(1)")
    with pytest.raises(CyborgError, match=r"Stopped after \d+ s; 0 step\(s\) were finished. The same command goes on from here."):
        workflow.run("try")


@pytest.mark.slow
def test_a_study_that_is_at_work_is_not_started_twice(pretended, project):
    """The lock outlives the caller for as long as Snakemake runs, and is free when that has ended."""
    call = "import sys; from cyborg_utils.run import cli, workflow; {}; cli.main(['reproduce', 'try'])"
    slow = "workflow.command = lambda *a, **k: [sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(30)']"
    first = subprocess.Popen(
        [sys.executable, "-u", "-c", call.format(slow)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while first.stdout.readline() != "1\n":
            assert first.poll() is None
        first.kill()  # the caller only: its Snakemake lives on, as after `kill -9`
        first.wait()
        pretended("pass")
        with pytest.raises(
            CyborgError, match=f"the study 'try' is being executed already .process {first.pid} or one it started"
        ):
            workflow.run("try")
    finally:
        subprocess.run(["kill", "-9", "--", f"-{first.pid}"], check=False)
    for _ in range(100):
        try:
            assert workflow.run("try") is False
            break
        except CyborgError:
            workflow.time.sleep(0.05)
    else:
        pytest.fail("the lock was left behind")


# ---- make


def test_make_help_lists_every_target():
    said = subprocess.run(["make", "--no-print-directory"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE).group(1).split()
    assert {"reproduce", "test", "lint", "lab", "verify", "bench", "clean", "site"} <= set(targets)
    for target in targets:
        assert re.search(rf"^  {target} +\w", said, flags=re.MULTILINE), target
    assert all(profile in said for profile in PROFILES)
