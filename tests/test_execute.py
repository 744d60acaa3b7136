"""A notebook is executed whole, with the right parameters, or not at all: every way to fail is made to happen here."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run import execute, freshness, lock, tidy

RECORD = """
from pathlib import Path
record = Path("results") / profile / "records" / "98_try.json"
record.parent.mkdir(parents=True, exist_ok=True)
record.write_text("{}")
"""


@pytest.fixture
def study(make_study):
    make_study("try")


# ---- parameters


SIGNIFICANCE = "profile: str = 'demo'\nresamples: int = 100\nconfidence: float = 0.9\nmargin: float = 1.0\nanalysis_seed: int = 0"


def test_parameters_come_from_profile_and_section(study, make_notebook):
    make_notebook("05_test_significance", SIGNIFICANCE)
    assert config.compose("05_test_significance", "try") == {
        "profile": "try",
        "resamples": 10000,
        "confidence": 0.95,
        "margin": 0.05,
        "analysis_seed": 1,
    }


def test_parameters_of_a_run(study, make_notebook):
    make_notebook("03_label_essays", "profile = 'demo'\nfraction = 0.5\nseed = 9\nengine = 'x'")
    values = config.compose("03_label_essays", "try", config.Run(0.1, 1))
    assert values == {"profile": "try", "fraction": 0.1, "seed": 1, "engine": "transformers"}


@pytest.mark.parametrize(
    "cell, run, words",
    [
        (SIGNIFICANCE + "\nextra = 1", None, r"05_test_significance needs extra, which the study does not give"),
        (SIGNIFICANCE.replace("margin: float = 1.0", ""), None, r"has no parameter margin; it has profile, resamples"),
        (SIGNIFICANCE, config.Run(0.1, 1), r"is executed once a study, without --fraction and --seed"),
        (SIGNIFICANCE + "\nfraction = 0.1\nseed = 1", None, r"needs --fraction and --seed"),
        (SIGNIFICANCE + "\nlimit = 2 * margin", None, r"may hold literals only, not `limit = 2 \* margin`"),
        ("import os\n" + SIGNIFICANCE, None, r"may hold literals only, not `import os`"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(study, make_notebook, cell, run, words):
    make_notebook("05_test_significance", cell)
    with pytest.raises(CyborgError, match=words):
        config.compose("05_test_significance", "try", run)


def test_a_notebook_without_a_parameters_cell_is_refused(project):
    path = project / "notebooks" / "98_try.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")]), path)
    with pytest.raises(CyborgError, match="notebooks/98_try.ipynb: 0 cells are tagged `parameters`"):
        config.parameters(path)


def test_an_unknown_notebook_names_those_there_are(study, make_notebook):
    make_notebook("98_try", "profile = 'demo'")
    with pytest.raises(CyborgError, match=r"notebooks/97_no.ipynb: no such notebook. There are: .*98_try"):
        execute.execute("97_no", "try")


# ---- success


def test_a_whole_execution(study, project, make_notebook):
    """One kernel, everything that a good execution must leave behind."""
    make_notebook(
        "98_try",
        "profile: str = 'demo'",
        "import os, sys\nprint(sys.executable)\nprint(os.getcwd())\nprint(profile)",
        "from tqdm import tqdm\nfor _ in tqdm(range(3)): pass\nprint('kept', file=sys.stderr)",
        "import warnings\nopen('made.txt', 'w').write('x')\nwarnings.warn(f'from {os.getcwd()}/x')",
        RECORD,
    )
    done = paths.build("try", "done", "98_try.json")
    copy = execute.execute("98_try", "try", promised=[project / "made.txt"], done=done)
    assert copy == project / "results" / "try" / "notebooks" / "98_try.ipynb"
    text = copy.read_text(encoding="utf-8")
    for place in (project, Path.home(), sys.prefix):
        assert str(place) not in text
    notebook = nbformat.read(copy, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.papermill == {
        "input_path": "notebooks/98_try.ipynb",
        "output_path": "results/try/notebooks/98_try.ipynb",
        "parameters": {"profile": "try"},
    }
    first, second, third = (notebook.cells[i].outputs for i in (3, 4, 5))
    # this Python's kernel, in the project's folder
    assert first[0].text.splitlines() == [tidy.without_machine(sys.executable), ".", "try"]
    assert [(output.name, output.text) for output in second] == [("stderr", "kept\n")]  # no progress bar
    assert third[0].text.startswith("<cell>:3: UserWarning: from x")
    assert not list(paths.build("try", "running").glob("*.ipynb"))
    made = json.loads(done.read_text())["made"]
    assert set(made) == {"made.txt", "results/try/notebooks/98_try.ipynb", "results/try/records/98_try.json"}

    # what is changed or removed afterwards is found, and nothing else
    assert freshness.forget_changed("try") == []
    (project / "made.txt").write_text("y")
    assert freshness.forget_changed("try") == ["98_try: made.txt was changed; this step is done again."]
    assert not done.exists()


def test_a_folder_may_have_any_name(study, make_notebook, project, monkeypatch):
    make_notebook("98_try", "profile = 'demo'", RECORD)
    odd = project.rename(project.with_name("it's {a} Schüler's"))
    monkeypatch.setenv("CYBORG_HOME", str(odd))
    copy = execute.execute("98_try", "try", values={"profile": "try"})
    assert copy == odd / "results" / "try" / "notebooks" / "98_try.ipynb" and copy.is_file()


# ---- failures


@pytest.fixture
def earlier(study, project):
    """An earlier copy and record, which no failure may touch or take for its own."""
    copy = project / "results" / "try" / "notebooks" / "98_try.ipynb"
    record = project / "results" / "try" / "records" / "98_try.json"
    for file in (copy, record):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("earlier")
    yield copy
    assert copy.read_text() == "earlier"
    assert not list(paths.build("try", "done").glob("*"))


@pytest.mark.parametrize(
    "cell, words",
    [
        (
            "from cyborg_utils.core.errors import CyborgError\nraise CyborgError('essays.csv, row 3: no text. Fill it in.')",
            "98_try: essays.csv, row 3: no text",
        ),
        ("1 / 0", r"98_try: ZeroDivisionError in code cell 3: division by zero\n(.*\n)*.*----> 1 1 / 0"),
        (
            "import os\nos.kill(os.getpid(), 9)",
            r"98_try: the kernel was killed in its code cell 3; most often this means that memory ran out",
        ),
        ("pass", r"98_try: ended without error, but did not write results/try/records/98_try.json"),
    ],
    ids=["error of the user", "error of the code", "killed kernel", "no record"],
)
def test_a_failure_is_told_and_changes_nothing(earlier, make_notebook, cell, words):
    make_notebook("98_try", "profile = 'demo'", cell)
    with pytest.raises(CyborgError, match=words) as error:
        execute.execute("98_try", "try", done=paths.build("try", "done", "98_try.json"))
    assert str(error.value).endswith("The copy with the failure: build/try/failed/98_try.ipynb")
    assert paths.build("try", "failed", "98_try.ipynb").is_file()


@pytest.fixture
def no_kernel(monkeypatch):
    """papermill replaced by a list of what its calls do: an exception to raise, or a function to call."""
    calls = []

    def pretend(path, working, values, **_):
        act = calls.pop(0)
        if isinstance(act, Exception):
            raise act
        return act(path, working, values)

    monkeypatch.setattr(execute.papermill, "execute_notebook", pretend)
    monkeypatch.setattr(execute.time, "sleep", lambda _: None)
    return calls


def begun(path, working, values):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata["papermill"] = {"status": "completed"}
    working.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, working)
    return notebook


def works(path, working, values):
    record = paths.results("try", "records", "98_try.json")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("{}")
    return begun(path, working, values)


def dies_later(path, working, values):
    begun(path, working, values)
    raise RuntimeError("Kernel died")


def test_a_kernel_that_does_not_start_is_tried_again(study, make_notebook, no_kernel, capsys):
    make_notebook("98_try", "profile = 'demo'")
    no_kernel += [RuntimeError("Kernel died before replying to kernel_info"), RuntimeError("Address already in use"), works]
    assert execute.execute("98_try", "try").is_file()
    assert capsys.readouterr().err.count("the kernel did not start") == 2


def test_a_kernel_that_never_starts_is_given_up(study, make_notebook, no_kernel):
    make_notebook("98_try", "profile = 'demo'")
    no_kernel += [RuntimeError("Kernel died")] * 4
    with pytest.raises(CyborgError, match="no kernel could be started in 3 tries: Kernel died"):
        execute.execute("98_try", "try")
    assert len(no_kernel) == 1


def test_a_kernel_that_dies_in_a_cell_is_not_tried_again(study, make_notebook, no_kernel):
    make_notebook("98_try", "profile = 'demo'")
    no_kernel += [dies_later, works]
    with pytest.raises(CyborgError, match="killed in its code cell 1"):
        execute.execute("98_try", "try")
    assert len(no_kernel) == 1


def test_promised_data_must_be_there(study, make_notebook, no_kernel):
    make_notebook("98_try", "profile = 'demo'")
    no_kernel += [works]
    with pytest.raises(CyborgError, match="ended without error, but there is no build/try/essays"):
        execute.execute("98_try", "try", promised=[paths.build("try", "essays")])


def test_registered_artefacts_must_be_written(study, make_notebook, no_kernel, monkeypatch):
    make_notebook("98_try", "profile = 'demo'")
    monkeypatch.setattr(execute.artefacts, "expected", lambda *_: ["figure_arms"])
    no_kernel += [works]
    with pytest.raises(
        CyborgError, match="did not write results/try/figures/figure_arms.png, results/try/figures/figure_arms.alt.txt"
    ):
        execute.execute("98_try", "try")


def test_two_at_once_are_refused(study, make_notebook, no_kernel, monkeypatch):
    monkeypatch.setattr(execute, "PATIENCE", 0.2)
    make_notebook("98_try", "profile = 'demo'")
    file = paths.build("try", "running", "98_try.lock")
    with (
        lock.locked(file, "it"),
        pytest.raises(CyborgError, match=rf"98_try of the study 'try' is being executed already .*{os.getpid()}"),
    ):
        execute.execute("98_try", "try")
    no_kernel += [works]
    assert execute.execute("98_try", "try").is_file()  # the lock is free again


def test_a_lock_held_on_another_machine_names_it(tmp_path, monkeypatch):
    with lock.locked(tmp_path / "lock", "it"):
        with pytest.raises(CyborgError, match=rf"it is being executed already .process {os.getpid()} or one"):
            lock.locked(tmp_path / "lock", "it").__enter__()
        monkeypatch.setattr(lock.socket, "gethostname", lambda: "another")
        with pytest.raises(CyborgError, match=rf".process {os.getpid()} of \S+ or one"):
            lock.locked(tmp_path / "lock", "it").__enter__()


def test_a_file_system_without_locks_is_told_as_such(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuses)
    with pytest.raises(CyborgError, match="lock: this file system has no locks .*No locks available"):
        lock.locked(tmp_path / "lock", "it").__enter__()


@pytest.mark.slow
def test_the_command_ends_with_code_1_and_one_message(study):
    call = [sys.executable, "-m", "cyborg_utils", "run", "97_no", "try"]
    ended = subprocess.run(call, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip().startswith("notebooks/97_no.ipynb: no such notebook")
    assert "Traceback" not in ended.stderr


# ---- what a reader sees


def outputs(*made):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=list(made))])
    return tidy.clean(notebook, Path("a.ipynb"), Path("b.ipynb")).cells[0].outputs


def test_links_of_an_executed_copy_lead_where_those_of_its_source_do():
    text = (
        "[0](../00_overview.ipynb) [7](extensions/07_a.ipynb) [1](01_a.ipynb) [lab](../teaching/a.ipynb) [data](../../docs/a.md)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    told = tidy.clean(notebook, Path("a.ipynb"), Path("b.ipynb")).cells[0].source
    assert told == (
        "[0](00_overview.ipynb) [7](07_a.ipynb) [1](01_a.ipynb) [lab](../../../teaching/a.ipynb) [data](../../../docs/a.md)"
    )


def stream(text, name="stderr"):
    return nbformat.v4.new_output("stream", name=name, text=text)


@pytest.mark.parametrize(
    "bar",
    [
        "\rEpoch 1:   0%|          | 0/10 [00:00<?, ?it/s]\rEpoch 1: 100%|██████████| 10/10 [00:01<00:00,  9.9it/s]\n",
        "Map: 100%|██████████| 1800/1800 [00:00<00:00, 5512.31 examples/s]\n",
        "0it [00:00, ?it/s]\r12it [00:00, 119.3it/s]\n",
        "Saving the dataset (1/1 shards):  50%|█████     | 900/1800 [00:00<00:00, 88 examples/s]\n",
    ],
)
def test_progress_bars_are_dropped_and_words_are_kept(bar):
    assert outputs(stream(bar)) == []
    (kept,) = outputs(stream("UserWarning: few essays\n"), stream(bar), stream("30% of essays | more\n"))
    assert kept.text == "UserWarning: few essays\n30% of essays | more\n"


def test_carriage_returns_leave_what_a_terminal_would_show():
    (kept,) = outputs(stream("step 1\rstep 2\rstep 3\nnext\r\n", "stdout"))
    assert kept.text == "step 3\nnext\n"


def test_widgets_are_dropped_and_addresses_too():
    widget = nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "bar"})
    figure = nbformat.v4.new_output("display_data", {"text/plain": "<Figure at 0x7f00aa>", "image/png": "aGk="})
    (kept,) = outputs(widget, figure)
    assert kept.data == {"text/plain": "<Figure>", "image/png": "aGk="}


def test_no_folder_of_this_machine_is_left(project):
    home = Path.home()
    text = (
        f"{project}/params/x.yaml {project} {project}-other {project.parent}/shared {home}/.cache/a {home} {sys.prefix}/lib/x.py"
    )
    assert tidy.without_machine(text) == "params/x.yaml . ../project-other ../shared ~/.cache/a ~ .venv/lib/x.py"
