"""pyproject.toml, requirements.lock, environment.yml and what is installed tell the same."""

import ast
import subprocess
import sys
import tomllib
from importlib import metadata

import nbformat
import pytest
import yaml
from conftest import CHECKOUT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

from tools import check_lock, readme

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = {tuple(map(int, python.split("."))) for python, _ in check_lock.PAIRS}
DIRECT = [Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
LOCK = [
    Requirement(line) for line in (CHECKOUT / "requirements.lock").read_text(encoding="utf-8").splitlines() if line[:1] != "#"
]
HERE = [pin for pin in LOCK if pin.marker is None or pin.marker.evaluate()]
PINS = {pin.name: str(pin.specifier).removeprefix("==") for pin in HERE}


def test_the_lock_pins_every_direct_dependency_within_its_bounds():
    for requirement in DIRECT:
        assert PINS[canonical(requirement.name)] in requirement.specifier, requirement


def test_the_lock_is_complete():
    """Everything that a locked package needs is locked, in a version that it accepts."""
    for name in PINS:
        for line in metadata.requires(name) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert PINS[canonical(need.name)] in need.specifier, f"{name} needs {line}"


def test_the_lock_is_sorted_and_free_of_builds_and_addresses():
    names = [pin.name for pin in LOCK]
    assert names == sorted(names) and len(HERE) == len(PINS)  # one version of each package here
    for pin in LOCK:
        (only,) = pin.specifier
        assert only.operator == "==" and not set("+*@/ ") & set(only.version) and pin.url is None, pin
    assert not [
        name for name in names if name.startswith(("nvidia", "cuda", "triton"))
    ]  # pip takes those that its torch asks for


def test_conda_has_the_same_packages():
    listed = yaml.safe_load((CHECKOUT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (through_pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    assert f"python{PROJECT['requires-python']}" in listed
    assert through_pip == ["-r requirements.lock", "--editable ."]


def test_every_python_that_is_promised_is_checked_and_no_other():
    oldest, newest = min(PYTHONS), max(PYTHONS)
    assert PROJECT["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert f"v < {oldest[:2]}" in makefile and f"v > {newest[:2]}" in makefile
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    asked = workflow["jobs"]["fast"]["strategy"]["matrix"]["python"]
    assert asked == [f"{major}.{minor}" for major, minor in sorted({version[:2] for version in PYTHONS})]


def test_a_lock_that_does_not_install_or_lacks_a_package_fails(monkeypatch, capsys):
    names = check_lock.locked(check_lock.LOCK.read_text(encoding="utf-8"))
    monkeypatch.setattr(check_lock, "resolve", lambda python, platform: (names, ""))
    assert check_lock.main() == 0 and f"{len(names)} packages, 11 of 11 pairs" in capsys.readouterr().out
    monkeypatch.setattr(
        check_lock, "resolve", lambda python, platform: (set(), "no wheel") if python == "3.13" else (names | {"forgotten"}, "")
    )
    assert check_lock.main() == 1
    told = capsys.readouterr().out
    assert "lock: Python 3.13 on aarch64-apple-darwin: no wheel" in told and "0 of 11 pairs" in told
    assert "lock: Python 3.11.2 on x86_64-manylinux_2_28: forgotten is needed but not locked" in told


def test_a_lock_that_cannot_be_checked_is_a_skip(monkeypatch, capsys):
    monkeypatch.setattr(check_lock, "PAIRS", check_lock.PAIRS[:1])
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    assert check_lock.main() == 0
    assert capsys.readouterr().out.startswith("lock: skipped: no package index can be reached.")


def test_what_is_installed_here_is_what_is_locked():
    here = {name: metadata.version(name).split("+")[0] for name in PINS}
    assert {name: version for name, version in here.items() if version != PINS[name]} == {}


@pytest.mark.parametrize("line", PROJECT["optional-dependencies"]["cluster"])
def test_the_plugins_for_a_cluster_fit_the_lock(line):
    """They are no part of it (`make cluster-env`), but where they are installed they must take what is locked."""
    plugin = Requirement(line)
    try:
        needs = [Requirement(need) for need in metadata.requires(plugin.name)]
    except metadata.PackageNotFoundError:
        pytest.skip(f"{plugin.name} is not installed here: make cluster-env")
    assert metadata.version(plugin.name) in plugin.specifier and canonical(plugin.name) not in PINS
    for need in needs:
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            assert PINS.get(canonical(need.name), metadata.version(need.name)) in need.specifier, need


def test_torch_is_one_version_everywhere():
    assert "torch==2.13.0" in PROJECT["dependencies"]
    assert PINS["torch"] == "2.13.0"


def imported(source: str) -> set[str]:
    """Top-level names of the modules that a piece of code imports."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level and node.module}
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


FOLDERS = ("cyborg_utils", "notebooks", "tests", "tools", "benchmarks")
SOURCES = [file for folder in FOLDERS for file in (CHECKOUT / folder).rglob("*") if file.suffix in (".py", ".ipynb")]


@pytest.fixture(scope="module")
def ours():
    """Import names that code may use: ours, and those that direct dependencies (the extras too) bring."""
    direct = {canonical(requirement.name) for requirement in DIRECT}
    wanted = [*PROJECT["optional-dependencies"]["gpu"], *PROJECT["optional-dependencies"]["vllm"]]
    extra = {canonical(Requirement(line).name) for line in wanted}
    brought = {
        name for name, makers in metadata.packages_distributions().items() if {canonical(maker) for maker in makers} & direct
    }
    return brought | extra | {"cyborg_utils", "tools", "benchmarks", *(path.stem for path in (CHECKOUT / "tests").glob("*.py"))}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_every_import_is_a_direct_dependency(file, ours):
    """Nothing works only because another package happens to bring it. (RSMTool's script makes an environment of its own.)"""
    ours = ours | ({"rsmtool"} if file.name == "rsmtool_golden.py" else set())
    text = file.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, 4) if file.suffix == ".ipynb" else None
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"] if notebook else [text]
    assert set().union(*map(imported, cells)) - ours == set()


def test_the_numbers_of_the_readme_and_of_docs_are_those_of_the_results():
    changed = subprocess.run(["git", "status", "--porcelain", "results"], cwd=CHECKOUT, capture_output=True, text=True)
    if changed.returncode or changed.stdout.strip():
        pytest.skip("results were computed anew here; the README speaks of the committed ones")
    for page in readme.PAGES:
        text = page.read_text(encoding="utf-8")
        assert readme.written(text) == text, f"{page.name}: run tools/readme.py"
