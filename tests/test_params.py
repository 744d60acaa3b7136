"""Study files: the ones that are here are right, and a wrong one is refused with its place and a remedy."""

import pytest
import yaml
from conftest import PROFILES

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.parameters import SECTIONS


@pytest.mark.parametrize("profile", PROFILES)
def test_every_study_of_the_repository_is_right(profile):
    study = config.load(profile)
    assert study.profile == profile
    assert study.runs
    assert study.scale.size >= 2
    assert study.section("02_finetune_teacher") == study.section("finetune_teacher") != {}


def test_runs_seeds_and_fractions(project, make_study):
    make_study("try", runs=[{"fraction": 0.25, "seeds": [3]}, {"fraction": 0.1, "seeds": [2, 1]}])
    study = config.load("try")
    assert [run.name for run in study.runs] == ["u25_s3", "u10_s2", "u10_s1"]
    assert study.seeds == (1, 2, 3)
    assert study.fractions == (0.1, 0.25)


def test_a_run_may_have_epochs_of_its_own(project, make_study):
    make_study("try", runs=[{"fraction": 0.1, "seeds": [1]}, {"fraction": 0.25, "seeds": [1], "epochs": 2}])
    study = config.load("try")
    few, many = study.runs
    usual = study.section("finetune_teacher")
    assert study.section("02_finetune_teacher", few) == usual
    assert study.section("02_finetune_teacher", many) == usual | {"epochs": 2} != usual
    assert study.section("04_train_student", many) == study.section("04_train_student")
    assert config.compose("02_finetune_teacher", "try", many)["epochs"] == 2


def test_what_a_study_leaves_out_comes_from_its_default(project, make_study):
    make_study("try")
    section = config.load("try").section("01_prepare_data")
    assert section["options"] == {}
    make_study("try", prepare_data={"options": {"file": "my.csv"}})
    assert config.load("try").section("01_prepare_data")["options"] == {"file": "my.csv"}


def test_a_section_is_a_copy(project, make_study):
    make_study("try")
    study = config.load("try")
    study.section("train_student")["epochs"] = 99
    assert study.section("train_student")["epochs"] != 99


def test_an_unknown_study_names_those_there_are(project):
    with pytest.raises(CyborgError, match=r"params/nothing.yaml: no such study. Known profiles: .*ellipse"):
        config.load("nothing")


def test_the_registry_of_artefacts_is_no_study(project):
    with pytest.raises(CyborgError) as error:
        config.load("nothing")
    assert "artefacts" not in str(error.value)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"train_student": {"epoch": 3}}, r"train_student: .*'epoch' was unexpected"),
        ({"train_student": {"epochs": "3"}}, r"train_student\.epochs: '3' is not of type 'integer'"),
        ({"finetune_teacher": {"learning_rate": "2e-5"}}, r'finetune_teacher\.learning_rate: .*write "2\.0e-05"'),
        ({"finetune_teacher": {"quantization": "int8"}}, r"finetune_teacher\.quantization: 'int8' is not one of"),
        ({"prepare_data": {"scale": [1, 6]}}, r"prepare_data\.scale"),
        ({"prepare_data": {"scale": [1, 6, 0.75]}}, r"needs low < high"),
        ({"runs": [{"fraction": 1.0, "seeds": [1]}]}, r"runs\.0\.fraction"),
        ({"runs": [{"fraction": 0.1, "seeds": [1]}, {"fraction": 0.1, "seeds": [1]}]}, r"stand twice"),
        ({"analyse_bias": {}}, r"top level: .*'analyse_bias' was unexpected"),
    ],
)
def test_a_mistake_is_named_with_its_place(project, make_study, changes, words):
    make_study("try", **changes)
    with pytest.raises(CyborgError, match=words):
        config.load("try")


def test_a_missing_key_is_named(project, make_study):
    make_study("try")
    file = project / "params" / "try.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    del content["train_student"]["epochs"]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(CyborgError, match="params/try.yaml: train_student: 'epochs' is a required property"):
        config.load("try")


@pytest.mark.parametrize("content", [b"runs: [1, 2", b"\xff\xfe\x00bad"])
def test_a_broken_file_is_named(project, content):
    (project / "params" / "broken.yaml").write_bytes(content)
    with pytest.raises(CyborgError, match="params/broken.yaml: not readable as YAML"):
        config.load("broken")


def test_every_parameter_is_one_of_a_study():
    """A key that is not declared would be refused; this holds the other way: every declared one reaches the notebooks."""
    used = {section: set() for section in SECTIONS}
    for profile in PROFILES:
        for section, values in config.load(profile).sections.items():
            used[section] |= set(values)
    assert used == {section: set(kind.model_fields) for section, kind in SECTIONS.items()}


@pytest.mark.parametrize("profile", PROFILES)
def test_settings_of_models_come_from_every_study(profile):
    """Sections also say what is no setting of a model (attempts, models, labels); no script has to know which."""
    from cyborg_utils.models import student, teacher

    study = config.load(profile)
    section = study.section("finetune_teacher")
    assert vars(teacher.Settings.of(section)).items() <= section.items() and "attempts" in section
    model, head = study.headline
    made = student.Settings.of(study.section("train_student"), model=model, head=head)
    assert (made.model, made.head, made.epochs) == (model, head, study.section("train_student")["epochs"])


# --- what the fuzzer found (benchmarks/fuzz.py) -----------------------------------------------------------------------------

LAUGHS = "a: &a [x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "line, words",
    [
        ("title: again", r"line \d+: title stands in line 1 already. Keep one"),
        ("x: {a: 1, a: 2}", r"line \d+: a stands in line \d+ already"),
        ("when: 2024-13-45", "not readable as YAML: month must be in 1..12"),
        ("n: !!int abc", "not readable as YAML"),
        ("b: !!bool perhaps", "not readable as YAML"),
        ("d: !!timestamp soon", "not readable as YAML"),
        ("big: " + "9" * 5_000, "not readable as YAML"),
        ("deep: " + "[" * 5_000, "not readable as YAML"),
        ("me: &me [*me, *me]", "too many values, or too deep"),
        (LAUGHS, "too many values, or too deep"),
        ("x: .nan", "x: needs an ordinary number"),
        ("x: " + "9" * 400, "x: needs an ordinary number"),
    ],
)
def test_what_yaml_lets_pass_or_breaks_on_is_an_error_of_ours(project, make_study, line, words):
    make_study("try")
    file = project / "params" / "try.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.startswith("title:")
    file.write_text(text + line + "\n", encoding="utf-8")
    with pytest.raises(CyborgError, match=f"params/try.yaml: .*{words}") as error:
        config.load("try")
    assert len(str(error.value)) < 2_000


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"train_student": {"epochs": 3.0}}, r"train_student\.epochs: 3\.0 is not of type 'integer'"),
        ({"runs": [{"fraction": 0.1, "seeds": [1.0]}]}, r"seeds\.0: 1\.0 is not of type 'integer'"),
        ({"runs": [{"fraction": 0.1, "seeds": [2**40]}]}, "greater than the maximum"),
        ({"runs": [{"fraction": float("nan"), "seeds": [1]}]}, r"runs\.0\.fraction: needs an ordinary number"),
        ({"runs": [{"fraction": 1e-9, "seeds": [1]}]}, "this fraction is too small. Give"),
        ({"runs": [{"fraction": 0.12345671, "seeds": [1]}, {"fraction": 0.12345672, "seeds": [1]}]}, "stand twice"),
        ({"prepare_data": {"scale": [1, float("inf"), 1]}}, r"scale\.1: needs an ordinary number"),
        ({"prepare_data": {"scale": [1, 6, 1e-9]}}, r"prepare_data\.scale: .*Use a coarser step"),
        ({"finetune_teacher": {"lora_rank": "x" * 9_000}}, "is not of type 'integer'"),
    ],
)
def test_numbers_that_are_none_and_names_that_clash_are_refused(project, make_study, changes, words):
    make_study("try", **changes)
    with pytest.raises(CyborgError, match=f"params/try.yaml: .*{words}") as error:
        config.load("try")
    assert len(str(error.value)) < 2_000


def test_a_mistake_tells_where_the_rules_stand(project, make_study):
    make_study("try", train_student={"epoch": 3})
    with pytest.raises(CyborgError, match="What a study may say stands in params/schema.json"):
        config.load("try")


def test_aliases_that_stand_for_little_are_kept(project, make_study):
    shared = ["Grammar"]
    make_study("try", score_traits={"traits": shared, "alone": shared})
    assert "*id001" in (project / "params" / "try.yaml").read_text(encoding="utf-8")
    assert config.load("try").section("score_traits")["alone"] == ["Grammar"]


@pytest.mark.parametrize(
    "section, key, value, loaded",
    [
        ("finetune_teacher", "learning_rate", 1, 1.0),
        ("prepare_data", "dev", 100, 100.0),
        ("prepare_data", "scale", [1, 5, 0.5], [1, 5, 0.5]),
        ("prepare_data", "groups", [], []),
        ("prepare_data", "options", {"a": 1}, {"a": 1}),
        ("calibrate_student", "penalty_by_group", True, True),
    ],
)
def test_types_that_fit(project, make_study, section, key, value, loaded):
    make_study("try", **{section: {key: value}})
    found = config.load("try").section(section)[key]
    assert found == loaded and type(found) is type(loaded)
    if isinstance(loaded, list):
        assert [*map(type, found)] == [*map(type, loaded)]  # an integer stays one


@pytest.mark.parametrize(
    "section, key, value",
    [
        ("finetune_teacher", "learning_rate", "2e-5"),
        ("finetune_teacher", "learning_rate", True),
        ("finetune_teacher", "epochs", 1.0),
        ("finetune_teacher", "epochs", True),
        ("calibrate_student", "penalty_by_group", 1),
        ("train_student", "models", "a"),
        ("train_student", "models", [1]),
        ("calibrate_student", "checks", [True]),
        ("prepare_data", "scale", [1, True, 1]),
        ("finetune_teacher", "epochs", None),
        ("calibrate_student", None, None),
    ],
)
def test_types_that_do_not_fit(project, make_study, section, key, value):
    make_study("try", **{section: {key: value} if key else value})
    place = rf"{section}\.{key}[.\d]*" if key else section
    with pytest.raises(CyborgError, match=f"params/try.yaml: {place}: .* is not of type"):
        config.load("try")


def test_of_many_mistakes_ten_are_told(project, make_study):
    make_study("try", train_student={f"wrong{at:02}": at for at in range(14)})
    with pytest.raises(CyborgError, match="'wrong09' was unexpected; remove it") as error:
        config.load("try")
    assert "wrong10" not in str(error.value) and "and 4 more" in str(error.value)
