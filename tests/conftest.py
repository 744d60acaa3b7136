"""What the tests share. No test writes into the checkout: `project` gives each its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hypothesis
import nbformat
import pytest
from filelock import FileLock

from cyborg_utils.core import config
from cyborg_utils.core.parameters import SECTIONS

CHECKOUT = Path(__file__).resolve().parent.parent
PROFILES = config.profiles()

# The same examples each time, no file kept, and no limit of time for one example: the machine may be busy.
hypothesis.settings.register_profile("here", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole studies first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: item.path.name not in ("test_notebooks.py", "test_cluster.py", "test_faults.py"))


@pytest.fixture(autouse=True)
def _same_environment():
    """Environment variables that a test's code sets are gone after it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of the test's own, with `params/` and `notebooks/` copied; `paths.home()` is this folder."""
    home = tmp_path / "project"
    for name in ("params", "notebooks"):
        shutil.copytree(CHECKOUT / name, home / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    monkeypatch.setenv("CYBORG_HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    return home


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, the only one that is looked in."""
    monkeypatch.setenv("CYBORG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def make_notebook(project: Path) -> Callable[..., Path]:
    """A function that writes a small notebook into the project: its name, the parameters cell, and further code cells."""

    def make(name: str, parameters: str, *cells: str) -> Path:
        first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {name}"), first])
        notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = project / "notebooks" / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    return make


@pytest.fixture
def make_study(project: Path) -> Callable[[str], None]:
    """A function that writes `params/<profile>.yaml`: the ellipse study's settings with the simulated corpus and one run."""
    import yaml

    def make(profile: str, **changes: dict) -> None:
        study = yaml.safe_load((CHECKOUT / "params" / "ellipse.yaml").read_text(encoding="utf-8"))
        study["runs"] = [{"fraction": 0.1, "seeds": [1]}]
        beyond = {name for name, section in SECTIONS.items() if section.beyond_paper}
        study = {name: value for name, value in study.items() if name not in beyond}  # the paper's notebooks only
        for section, values in changes.items():
            study[section] = study.get(section, {}) | values if isinstance(values, dict) else values
        (project / "params" / f"{profile}.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")

    return make


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random models by name (tests/tiny_models.py), made once a session, for all its workers. Read them only."""
    from tiny_models import make

    if "PYTEST_XDIST_WORKER" not in os.environ:  # one process
        return make(tmp_path_factory.mktemp("tiny"))
    shared = tmp_path_factory.getbasetemp().parent  # of all workers
    with FileLock(shared / "tiny.lock"):
        found = shared / "tiny.json"
        if not found.is_file():
            folder = shared / "tiny"
            folder.mkdir()
            found.write_text(json.dumps({name: str(path) for name, path in make(folder).items()}), encoding="utf-8")
    return {name: Path(path) for name, path in json.loads(found.read_text(encoding="utf-8")).items()}
