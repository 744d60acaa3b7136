"""Write requirements.lock and environment.yml from pyproject.toml and the packages installed here: `make lock`.

The lock holds the exact version of every direct dependency (with the extra `dev`) and of all that these need, nothing else that
happens to be installed. Local version parts are left out (`torch 2.13.0+cpu` is pinned as `2.13.0`), so that the same lock
installs a CPU or a CUDA build.
"""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HOME = Path(__file__).resolve().parent.parent
LOCK = """\
# Exact versions of one tested environment, written by `make lock`; edit pyproject.toml instead.
# Install: pip install -r requirements.lock

# Direct dependencies (pyproject.toml, with the extra "dev")
{direct}

# What these need
{indirect}
"""
CONDA = """\
# For conda: conda env create -f environment.yml && conda activate cyborg-data
# The same direct dependencies as requirements.lock, written by `make lock`.
name: cyborg-data
channels: [conda-forge]
dependencies:
  - python>=3.11
  - pip
  - pip:
{direct}
      - --editable .
"""


def pinned(name: str) -> str:
    """`name==version` as installed, without the local part."""
    return f"{canonicalize_name(name)}=={metadata.version(name).split('+')[0]}"


def needed(requirement: Requirement) -> set[str]:
    """Canonical names of the installed packages that a requirement brings in, itself included."""
    found: set[str] = set()
    queue = [requirement]
    while queue:
        current = queue.pop()
        for extra in {"", *current.extras}:
            key = f"{canonicalize_name(current.name)}[{extra}]"
            if key in found:
                continue
            found.add(key)
            for line in metadata.requires(current.name) or []:
                child = Requirement(line)
                if child.marker is None or child.marker.evaluate({"extra": extra}):
                    queue.append(child)
    return {key.split("[")[0] for key in found}


def main() -> None:
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [Requirement(line) for line in project["dependencies"] + project["optional-dependencies"]["dev"]]
    names = {canonicalize_name(requirement.name) for requirement in wanted}
    everything = set().union(*(needed(requirement) for requirement in wanted))
    direct = [pinned(name) for name in sorted(names)]
    indirect = [pinned(name) for name in sorted(everything - names)]
    (HOME / "requirements.lock").write_text(LOCK.format(direct="\n".join(direct), indirect="\n".join(indirect)), encoding="utf-8")
    (HOME / "environment.yml").write_text(CONDA.format(direct="\n".join(f"      - {line}" for line in direct)), encoding="utf-8")
    print(f"requirements.lock: {len(direct)} direct and {len(indirect)} indirect packages; environment.yml: {len(direct)}")


if __name__ == "__main__":
    main()
