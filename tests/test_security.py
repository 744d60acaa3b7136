"""Nothing that comes with data, a study file or a model can run code, and nothing is written outside a study's own folder."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import CHECKOUT
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.extensions.scoring import bundle, predict
from cyborg_utils.models import prompt, student, teacher, weights
from cyborg_utils.run import cli, execute, site, verify, workflow
from cyborg_utils.study import artefacts, scores

SOURCES = sorted((CHECKOUT / "cyborg_utils").rglob("*.py"))
SCALE = Scale(1, 6)

# --- what the code never does ---------------------------------------------------------------------------------------------


def dangers(source: str) -> list[str]:
    """Calls and imports of a piece of code that could run what is in a file, or a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [
                name for name in names if name.split(".")[0] in {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
            ]
        if isinstance(node, ast.Call):
            call, options = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            wrong = {
                "np.load": options.get("allow_pickle") != "False",
                "numpy.load": options.get("allow_pickle") != "False",
                "torch.load": options.get("weights_only") != "True",
                "pd.read_pickle": True,
                "yaml.load": True,
                "yaml.unsafe_load": True,
                "yaml.full_load": True,
                "os.system": True,
                "os.popen": True,
                "eval": True,
                "exec": True,
                "compile": True,
            }
            risky = wrong.get(call, False) or options.get("shell", "False") != "False"
            risky = risky or options.get("trust_remote_code", "False") != "False" or "enable_unsafe_deserialization" in call
            found += [f"{call}({', '.join(options)})"] if risky else []
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_no_module_unpickles_or_calls_a_shell(file):
    assert dangers(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", paths.notebooks(), ids=lambda file: file.name)
def test_no_notebook_does(file):
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    assert dangers("\n".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "yaml.load(text, Loader=yaml.Loader)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "eval(text)",
    ],
)
def test_each_danger_would_be_noticed(line):
    assert dangers(line)
    assert not dangers("np.load(f, allow_pickle=False); torch.load(f, weights_only=True); subprocess.run([a]); yaml.safe_load(t)")


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['touch {}']", "!!python/name:os.system", "!!python/module:os"])
def test_a_study_file_cannot_run_code(project, tag):
    (project / "params" / "evil.yaml").write_text(f"title: {tag.format(project / 'ran')}\n", encoding="utf-8")
    with pytest.raises(CyborgError, match="evil.yaml: not readable as YAML"):
        config.load("evil")
    assert not (project / "ran").exists()


# --- models ---------------------------------------------------------------------------------------------------------------


class Evil:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def without_safetensors(folder: Path, target: Path, stem: str = "model", name: str = "pytorch_model.bin") -> Path:
    """A copy of a folder whose weights are a pickle that PyTorch would read."""
    shutil.copytree(folder, target)
    torch.save(load_file(target / f"{stem}.safetensors"), target / name)
    (target / f"{stem}.safetensors").unlink()
    return target


TEACHER = {"epochs": 0, "learning_rate": 0.01, "batch_size": 2, "lora_rank": 2, "lora_targets": "attention", "target_sd": 0.7}


def settings(model: Path) -> teacher.Settings:
    return teacher.Settings(model=str(model), max_tokens=32, **TEACHER)


def test_a_teacher_of_pickles_is_refused_with_a_remedy(tiny_models, tmp_path):
    pickled = without_safetensors(tiny_models["llama"], tmp_path / "pickled")
    AutoModelForCausalLM.from_pretrained(pickled)  # transformers itself would take it
    with pytest.raises(CyborgError, match=r"pickled: no model.safetensors there, and pickles .* are not read.*save_pretrained"):
        teacher.load(settings(pickled), prompt.Prompt("rubric", SCALE))


def test_an_adapter_of_pickles_is_refused(tiny_models, tmp_path):
    own = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_models["llama"]), LoraConfig(**own)).save_pretrained(
        tmp_path / "good"
    )
    template, good = prompt.Prompt("rubric", SCALE), settings(tiny_models["llama"])
    assert teacher.load(good, template, adapter=tmp_path / "good").prompt is template
    pickled = without_safetensors(tmp_path / "good", tmp_path / "pickled", "adapter_model", "adapter_model.bin")
    with pytest.raises(CyborgError, match=r"pickled: no adapter_model.safetensors there, and pickles"):
        teacher.load(good, template, adapter=pickled)


@pytest.fixture(scope="module")
def pupil(tiny_models, tmp_path_factory) -> Path:
    """A saved Student that has learnt nothing."""
    folder = tmp_path_factory.mktemp("pupil") / "student"
    student.untrained(student.Settings(str(tiny_models["electra"]), "regression", 1, 1, 0.01, 4, 32), SCALE).save(folder)
    return folder


def test_a_student_of_pickles_is_refused_new_or_saved(tiny_models, pupil, tmp_path):
    assert student.load(pupil).scale == SCALE
    pickled = without_safetensors(tiny_models["electra"], tmp_path / "pickled")
    with pytest.raises(CyborgError, match="pickles .* are not read"):
        student.untrained(student.Settings(str(pickled), "regression", 1, 1, 0.01, 4, 32), SCALE)
    with pytest.raises(CyborgError, match="pickles .* are not read"):
        student.load(without_safetensors(pupil, tmp_path / "student"))


@pytest.mark.parametrize("part", ["pytorch_model.bin", "../model.safetensors", "/tmp/model.safetensors", 3])
def test_an_index_of_weights_names_safetensors_of_its_own_folder_only(pupil, tmp_path, part):
    folder = shutil.copytree(pupil, tmp_path / "student")
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert weights.plain(folder) == folder
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": part}}))
    with pytest.raises(CyborgError, match="pickles .* are not read"):
        weights.plain(folder)
    index.write_text("[1]")
    with pytest.raises(CyborgError, match="not readable as an index"):
        weights.plain(folder)


def test_a_malicious_pickle_beside_safetensors_is_not_touched(pupil, tmp_path):
    folder = shutil.copytree(pupil, tmp_path / "student")
    for name in ("pytorch_model.bin", "model.pkl", "training_args.bin", "tokenizer.pkl"):
        torch.save(Evil(tmp_path / "ran"), folder / name)
    student.load(folder).predict(["An essay."])
    assert not (tmp_path / "ran").exists()
    torch.load(folder / "model.pkl", weights_only=False)  # the test's own bait works
    assert (tmp_path / "ran").exists()


def test_code_that_comes_with_a_model_is_not_run(tiny_models, tmp_path):
    folder = shutil.copytree(tiny_models["electra"], tmp_path / "coded")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(CyborgError, match="config.json: this model needs code .* not run. Take a model"):
        student.untrained(student.Settings(str(folder), "regression", 1, 1, 0.01, 4, 32), SCALE)
    assert not (tmp_path / "ran").exists()


# --- names ----------------------------------------------------------------------------------------------------------------

BAD_NAMES = [
    "../evil",
    "/tmp/evil",
    "a/b",
    "..",
    ".hidden",
    "-rf",
    "a b",
    "a;touch ran",
    "$(touch ran)",
    "`touch ran`",
    "a|b",
    "a\nb",
]
BAD_NAMES += ["a'b", 'a"b', "a\0b", "", "x" * 300, "~root", "a&b", "a>b", "*", "a\\b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_leave_its_folder_is_refused_everywhere_before_anything_is_written(project, name, monkeypatch):
    monkeypatch.chdir(project)
    before = sorted(project.parent.rglob("*"))
    calls = {
        "build": lambda: paths.build(name, "essays"),
        "results": lambda: paths.results(name, "tables"),
        "params": lambda: config.load(name),
        "save": lambda: corpora.save(None, name),
        "load": lambda: corpora.load(name),
        "execute": lambda: execute.execute("14_audit_scores", name, values={}),
        "workflow": lambda: workflow.run(name),
        "command": lambda: workflow.command(name),
        "pages": lambda: site.render(name),
        "verify": lambda: verify.compare(name),
        "scores": lambda: scores.write(name, "split", pd.DataFrame({"a": [1]})),
        "text": lambda: artefacts.save_text(name, "text_prompt_u10_s1", "x"),
        "release": lambda: bundle.saved(name),
    }
    for call in calls.values():
        with pytest.raises(CyborgError, match="cannot be the name of a study. Use letters"):
            call()
    assert sorted(project.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["demo", "my_essays", "my-essays.v2", "u10", "étude", "2025"])
def test_ordinary_names_stay_good(name):
    assert paths.build(name, "students", "u10_s1", "a--b-regression-cyborg").parts[-4] == name
    assert paths.results(name, "tables/table_qwk.csv").name == "table_qwk.csv"


@pytest.mark.parametrize("part", ["../../evil", "/tmp/evil", "a/../../b", "..", "a\0b"])
def test_a_run_a_trait_or_a_teacher_cannot_leave_the_study_either(part):
    for call in (
        lambda: paths.build("demo", "teacher", part),
        lambda: paths.results("demo", part),
        lambda: bundle.Name(part, "m", "regression", "cyborg").folder("demo"),
    ):
        with pytest.raises(CyborgError, match="leaves the folder of its study"):
            call()


@pytest.mark.parametrize(
    "section, values",
    [
        ("compare_teachers", {"teachers": [{"name": "../../evil"}]}),
        ("compare_teachers", {"teachers": [{"name": "/tmp/evil"}]}),
        ("transfer_corpora", {"sources": [{"profile": "../evil", "run": "u10_s1", "labels": "full"}]}),
        ("transfer_corpora", {"sources": [{"profile": "demo", "run": "../u10_s1", "labels": "full"}]}),
        ("transfer_corpora", {"sources": [{"profile": "demo", "run": "u10_s1", "labels": "../full"}]}),
        ("score_essays", {"run": "../../u10_s1"}),
        ("attack_scorer", {"run": "$(touch ran)"}),
    ],
)
def test_names_in_a_study_file_are_checked(make_study, section, values):
    make_study("try", **{section: values})
    with pytest.raises(CyborgError, match=f"try.yaml: {section}.*must match"):
        config.load("try")


def test_the_audit_writes_nowhere_else(project, tmp_path, monkeypatch):
    pd.DataFrame({"id": ["a", "b"], "human": [1, 2], "machine": [1, 2]}).to_csv(tmp_path / "a.csv", index=False)
    before = sorted(project.parent.rglob("*"))
    for name in ("../../evil", "/tmp/evil", "a;touch ran"):
        call = ["audit", str(tmp_path / "a.csv"), "--scale", "1", "6", "1", "--name", name]
        with pytest.raises(SystemExit, match="cannot be the name of a study"):
            cli.main(call)
    assert sorted(project.parent.rglob("*")) == before


@pytest.mark.slow
def test_the_command_line_refuses_a_bad_study_before_it_writes(project):
    before = sorted(project.rglob("*"))
    for command in (["reproduce"], ["run", "01_prepare_data"]):
        call = [sys.executable, "-m", "cyborg_utils", *command]
        done = subprocess.run([*call, "../evil"], cwd=project, capture_output=True, text=True)
        assert done.returncode == 1 and "cannot be the name of a study" in done.stderr and "Traceback" not in done.stderr
    assert sorted(project.rglob("*")) == before


def test_make_clean_removes_nothing_but_a_study(tmp_path):
    """`make clean PROFILE=../..` would otherwise remove more than a study."""
    shutil.copy(CHECKOUT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "params").mkdir()
    for folder in ("build/demo", "build/other", "kept"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("../kept", "..", ".", "", "demo other", "*", "../kept demo"):
        done = subprocess.run(["make", "clean", f"PROFILE={name}"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode and "name of a study" in done.stdout + done.stderr, name
    assert (tmp_path / "kept").is_dir() and (tmp_path / "build" / "demo").is_dir() and (tmp_path / "build" / "other").is_dir()
    subprocess.run(["make", "clean", "PROFILE=demo"], cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path / "build" / "demo").exists() and (tmp_path / "build" / "other").is_dir()


# --- files of data --------------------------------------------------------------------------------------------------------


def test_a_file_that_options_name_is_only_read(tmp_path, monkeypatch):
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path / "home"))
    outside = tmp_path / "outside.csv"
    rows = [f"e{at},Text number {at} of this file,{1 + at % 6}" for at in range(30)]
    outside.write_text("id,text,score\n" + "\n".join(rows) + "\n")
    before = outside.read_bytes(), sorted(tmp_path.rglob("*"))
    options = {"file": "../outside.csv", "id": "id", "text": "text", "rubric": "../outside.csv"}
    (tmp_path / "home").mkdir()
    section = {"corpus": "table", "scale": [1, 6, 1], "score": "score", "groups": [], "dev": 0.1, "test": 0.2, "split_seed": 1}
    assert corpora.build(section | {"options": options}).counts["essays"] == 30
    assert prompt.rubric("table", "score", options).startswith("id,text,score")
    left = [path for path in sorted(tmp_path.rglob("*")) if tmp_path / "home" not in (path, *path.parents)]  # its own workshop
    assert (outside.read_bytes(), left) == before


def test_essays_with_formulas_and_markup_come_out_as_they_are(tmp_path):
    texts = ["=cmd|' /C calc'!A0", "<script>alert(1)</script>", "{{ 7 * 7 }}", "$(touch ran) `touch ran`", "%s %n {0.__class__}"]
    frame = pd.DataFrame({"id": [f"e{at}" for at in range(5)], "text": texts})
    frame.to_csv(tmp_path / "a.csv", index=False)
    (part,) = predict.parts(tmp_path / "a.csv", predict.Columns())
    assert part[1] == texts
    assert yaml.safe_load(yaml.safe_dump(texts)) == texts
