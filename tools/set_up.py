"""Make .venv from requirements.lock: `make` runs this file with the Python that .venv shall have; its arguments go to pip.

`.venv/.ready`, written last, holds the checkout's folder. An environment without it is half-made, and one with another folder was
moved; both are made anew. With `--check` (and a Python, where the user named one) it only prints "fine" if .venv can stay: `make`
runs it so with .venv's own Python, on every call.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
VENV = HOME / ".venv"
PYTHON, READY, LOCK = VENV / "bin" / "python", VENV / ".ready", HOME / "requirements.lock"


def version(python: str | Path) -> str:
    """`3.11.7`; empty where that Python does not run."""
    try:
        done = subprocess.run([str(python), "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"], capture_output=True)
    except OSError:
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def fine(python: str = "") -> bool:
    """Whether .venv was finished, here, and runs; with `python` also whether it has this one's version."""
    finished = READY.is_file() and READY.read_text(encoding="utf-8").strip() == str(HOME)
    return finished and version(PYTHON) != "" and (not python or version(python) == version(PYTHON))


def pip(*arguments: str) -> int:
    """pip's exit status. One line counts the packages, since a person wants to see that it goes on."""
    call = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *arguments]
    count, line = 0, ""
    with subprocess.Popen(call, cwd=HOME, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout:
            count += line.startswith(("Collecting ", "Processing "))
            if sys.stdout.isatty():
                step = f"{count or 1}. " + " ".join(line.split()[:2])
                print(f"\r\033[K  {step[:76]}", end="", flush=True)
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    return process.returncode


def main(options: list[str]) -> int:
    packages = sum("==" in line for line in LOCK.read_text(encoding="utf-8").splitlines())
    if not fine(sys.executable):
        if VENV.exists():
            print(f"Making .venv anew: it is unfinished, was moved, or has another Python than {version(sys.executable)}.")
        READY.unlink(missing_ok=True)
        if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)]).returncode:
            return 1
    READY.unlink(missing_ok=True)
    print(
        f"Installing about {packages} packages into .venv (Python {version(PYTHON)}; 2.4 GB, 3 to 5 minutes; once) ...",
        flush=True,
    )
    if pip(*options, "-r", str(LOCK)) or pip("--no-deps", "--editable", str(HOME)):
        print("Setting up .venv failed; the reason stands above. The same command tries again, from the start.", file=sys.stderr)
        return 1
    READY.write_text(f"{HOME}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        print("fine" if fine(*sys.argv[2:3]) else "")
    else:
        sys.exit(main(sys.argv[1:]))
