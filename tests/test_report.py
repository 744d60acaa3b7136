"""What is written, how, and that nothing else is."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT
from PIL import Image

from cyborg_utils.core import atomic, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.study import artefacts, exports

NOTEBOOKS = {file.stem for file in paths.notebooks()}
FRAME = pd.DataFrame({"arm": ["human", "a|b & 5 %"], "qwk": [0.123456789, np.nan], "essays": [3, 1200], "fair": [True, False]})


def exported(profile, name):
    return (exports.folder(profile) / name).read_text(encoding="utf-8")


def read(profile, kind, name):
    return paths.results(profile, kind, name).read_text(encoding="utf-8")


# ---- the registry


@pytest.mark.parametrize("name", artefacts.registry())
def test_every_entry_of_the_registry_is_complete(name):
    entry = artefacts.registry()[name]
    assert entry["kind"] in artefacts.FOLDERS
    assert entry["notebook"] in NOTEBOOKS
    assert name.startswith(entry["kind"])
    assert entry["title"] and entry["paper"]
    assert not set(entry) - {"kind", "notebook", "title", "paper", "per_run", "optional", "alt", "needs"}
    assert ("alt" in entry) == (entry["kind"] == "figure")


def test_every_committed_artefact_is_in_the_registry():
    """Nothing stands under results/ that no notebook writes any more."""
    files = [*CHECKOUT.glob("results/*/tables/*"), *CHECKOUT.glob("results/*/figures/*")]
    for name in {file.name.removesuffix(".alt.txt").removesuffix(file.suffix) for file in files}:
        artefacts.artefact(name)


@pytest.mark.parametrize(
    "name, words",
    [
        ("table_new", "no artefact 'table_new'"),
        ("table_qwk_u10_s1", "is not one of a run"),
        ("table_students", "needs its run at the end, e.g. table_students_u10_s1"),
        ("figure_arms", "figure_arms is a figure, not a table"),
    ],
)
def test_a_name_that_is_not_registered_writes_nothing(project, name, words):
    with pytest.raises(CyborgError, match=words):
        artefacts.save_table("try", name, FRAME)
    assert not paths.results("try").exists()


def test_expected_artefacts_carry_their_run():
    assert "table_students_u10_s1" in artefacts.expected("04_train_student", "u10_s1")
    assert "table_qwk" in artefacts.expected("05_test_significance")
    assert "table_smd" not in artefacts.expected("06_analyze_bias")  # optional: a corpus may have no writer groups


# ---- tables


def test_a_table_for_machines_and_for_people(project):
    artefacts.save_table("try", "table_qwk", FRAME, digits=2)
    assert read("try", "tables", "table_qwk.csv") == "arm,qwk,essays,fair\nhuman,0.123456789,3,True\na|b & 5 %,,1200,False\n"
    markdown = exported("try", "table_qwk.md").splitlines()
    assert markdown[0] == artefacts.registry()["table_qwk"]["title"]
    assert markdown[4].split() == ["|", "human", "|", "0.12", "|", "3", "|", "yes", "|"]
    assert markdown[5].split() == ["|", "a\\|b", "&", "5", "%", "|", "–", "|", "1200", "|", "no", "|"]
    latex = exported("try", "table_qwk.tex")
    assert r"a|b \& 5 \% & – & 1200 & no \\" in latex and r"\begin{tabular}{lrrl}" in latex


def test_the_table_shown_is_the_table_saved_and_the_same_each_time(project):
    first = artefacts.save_table("try", "table_qwk", FRAME, caption="5 < 6", formats={"qwk": artefacts.p_value}).to_html()
    assert "a|b &amp; 5 %" in first and "0.123" in first and "1200" in first
    assert first == artefacts.save_table("try", "table_qwk", FRAME, caption="5 < 6", formats={"qwk": artefacts.p_value}).to_html()


def test_a_long_table_is_shown_folded_and_can_still_be_linked(project):
    rows = pd.concat([FRAME] * artefacts.LONG, ignore_index=True)
    short, long = (artefacts.save_table("try", "table_qwk", part, caption="5 < 6") for part in (rows[: artefacts.LONG], rows))
    assert "<details>" not in short.to_html() and "<caption>5 < 6</caption>" in short.to_html()
    assert long.data.startswith(f"<details><summary>5 &lt; 6 ({len(rows)} rows)</summary>") and "<caption>" not in long.data
    assert 'id="T_table_qwk"' in long.data and long.data.count("<tr>") == len(rows) + 1


def test_the_commit_of_a_model_stands_in_the_csv_only(project):
    name = "owner/model@" + 5 * "0123abcd"
    shown = artefacts.save_table("try", "table_qwk", FRAME.assign(student=name))
    assert name in read("try", "tables", "table_qwk.csv") and set(artefacts.read_table("try", "table_qwk")["student"]) == {name}
    for text in (exported("try", "table_qwk.md"), exported("try", "table_qwk.tex"), shown.to_html()):
        assert "owner/model" in text and "@" not in text


def test_a_named_index_is_kept_and_an_unnamed_one_is_not(project):
    frame = pd.DataFrame({"qwk": [0.5]}, index=pd.Index(["human"], name="arm"))
    artefacts.save_table("try", "table_qwk", frame)
    assert read("try", "tables", "table_qwk.csv") == "arm,qwk\nhuman,0.5\n"
    artefacts.save_table("try", "table_qwk", frame.rename_axis(None))
    assert read("try", "tables", "table_qwk.csv") == "qwk\n0.5\n"


def test_an_empty_table_is_a_table(project):
    artefacts.save_table("try", "table_exclusions", pd.DataFrame({"file": [], "row": []}))
    assert read("try", "tables", "table_exclusions.csv") == "file,row\n"
    assert artefacts.read_table("try", "table_exclusions").empty


def test_a_table_that_is_not_there_names_its_notebook(project):
    with pytest.raises(CyborgError, match="results/try/tables/table_qwk.csv: not there yet. Notebook 05_test_significance"):
        artefacts.read_table("try", "table_qwk")


@pytest.mark.parametrize("value, text", [(0.00049, "< 0.001"), (0.001, "0.001"), (0.25, "0.250"), (1.0, "1.000")])
def test_p_values_as_people_write_them(value, text):
    assert artefacts.p_value(value) == text


@pytest.mark.parametrize(
    "value,text",
    [(0.00412, "0.0041"), (6.8e-05, "0.000068"), (41.23, "41"), (43_620.0, "44000"), (0.0, "0"), (1.0, "1"), (np.nan, "nan")],
)
def test_small_numbers_are_not_rounded_away(value, text):
    assert artefacts.significant(value) == text


# ---- figures and texts


def drawn(points=20):
    figure, axes = plt.subplots(figsize=(5, 3))
    axes.scatter(*np.random.default_rng(1).normal(size=(2, points)), s=4)
    return figure


def test_a_figure_with_its_words_the_same_each_time(project):
    shown = artefacts.save_figure("try", "figure_arms", (drawn(), "Cyborg 0.6, human 0.5."))
    folder = paths.results("try", "figures")
    assert shown._repr_png_()[1] == {"width": 480, "alt": "Cyborg 0.6, human 0.5."}
    assert (folder / "figure_arms.alt.txt").read_text() == "Cyborg 0.6, human 0.5.\n"
    first = {file.name: file.read_bytes() for place in (folder, exports.folder("try")) for file in place.iterdir()}
    assert set(first) == {"figure_arms.png", "figure_arms.svg", "figure_arms.alt.txt"}
    assert not (folder / "figure_arms.svg").exists()  # vector graphics are exports, which git does not track
    artefacts.save_figure("try", "figure_arms", (drawn(), "Cyborg 0.6, human 0.5."))
    assert first == {file.name: file.read_bytes() for place in (folder, exports.folder("try")) for file in place.iterdir()}


def test_a_figure_of_simulated_essays_says_so_in_picture_and_words(project, make_study):
    plain = artefacts.save_figure("try", "figure_arms", (drawn(), "Cyborg 0.6."))  # no study, as for an audit of a file
    make_study("try", prepare_data={"corpus": "ellipse", "scale": [1, 5, 0.5], "score": "Overall", "groups": []})
    real = artefacts.save_figure("try", "figure_arms", (drawn(), "Cyborg 0.6."))
    make_study("try", prepare_data={"corpus": "simulated"})
    marked = artefacts.save_figure("try", "figure_arms", (drawn(), "Cyborg 0.6."))
    assert plain.data == real.data and plain.alt == real.alt == "Cyborg 0.6."
    assert marked.alt == read("try", "figures", "figure_arms.alt.txt").strip() == "Cyborg 0.6. (simulated essays)"
    with Image.open(io.BytesIO(real.data)) as before, Image.open(io.BytesIO(marked.data)) as after:
        assert after.width == before.width and after.height > before.height  # it stands above all else


def test_a_saved_figure_is_closed_and_not_shown_twice(project):
    figure = drawn()
    artefacts.save_figure("try", "figure_arms", (figure, "One bar."))
    assert not plt.fignum_exists(figure.number)


def test_a_heavy_figure_is_made_light(project, monkeypatch):
    monkeypatch.setattr(artefacts, "PNG_LIMIT", 40_000)
    monkeypatch.setattr(exports, "SVG_LIMIT", 40_000)
    figure, axes = plt.subplots(figsize=(3, 3))
    axes.imshow(np.random.default_rng(1).random((300, 300, 3)), interpolation="nearest")
    exports.folder("try").mkdir(parents=True)
    file, vector = paths.results("try", "figures", "figure_arms.png"), exports.folder("try") / "figure_arms.svg"
    vector.touch()
    artefacts.save_figure("try", "figure_arms", (figure, "One bar."))
    with Image.open(file) as picture:
        assert picture.width < 600  # fewer dots and colours, since noise in three colours cannot be packed
    assert not vector.exists()


def test_a_text_artefact(project):
    artefacts.save_text("try", "text_prompt_u10_s1", "Rate this essay.\n\n")
    assert read("try", "figures", "text_prompt_u10_s1.txt") == "Rate this essay.\n"


# ---- records, the map, and writing


def test_a_record_and_the_table_of_records(project):
    assert artefacts.records("try").empty
    artefacts.write_record("try", "02_finetune_teacher", "u10_s1", parameters={"epochs": 2}, measured={"qwk": 0.5})
    artefacts.write_record("try", "01_prepare_data", parameters={})
    frame = artefacts.records("try")
    assert frame[["notebook", "run"]].values.tolist() == [["01_prepare_data", ""], ["02_finetune_teacher", "u10_s1"]]
    assert (frame["seconds"] >= 0).all()


def test_the_map_names_every_artefact_once():
    frame = artefacts.artefact_map("demo")
    assert frame["artefact"].is_unique and len(frame) == len(artefacts.registry())
    row = frame.set_index("artefact").loc["table_students"]
    assert row["file"] == "results/demo/tables/table_students_<run>.csv"


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "a.csv"
    artefacts.write(file, "old")
    monkeypatch.setattr(atomic.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        artefacts.write(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
