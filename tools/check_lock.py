"""Does requirements.lock install on every Python and platform that pyproject.toml promises? `make check-lock`.

Nothing is installed: uv resolves the lock for each pair. Every pin must have a wheel there, and nothing outside the lock may be
needed. Ends with 1 where a pair fails. Where no package index can be reached, it says that it was skipped and ends with 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HOME = Path(__file__).resolve().parent.parent
LOCK = HOME / "requirements.lock"
LINUX, ARM, MAC = "x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin"
# A patch release decides which versions are allowed, not which platforms have a wheel: one platform is enough for those.
PAIRS = [(python, platform) for platform in (LINUX, ARM, MAC) for python in ("3.11.0", "3.12", "3.13")]
PAIRS += [("3.11.2", LINUX), ("3.11.9", LINUX)]
MACOS = "14.0"  # the oldest that every wheel accepts
SOURCES = ("connection-pool",)  # published without a wheel; pure Python, so that any machine can build it
OFFLINE = ("Could not connect", "client error (Connect)", "dns error", "error sending request", "Failed to fetch", "timed out")


def locked(text: str) -> set[str]:
    """Canonical names of the packages in a lock."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def resolve(python: str, platform: str) -> tuple[set[str], str]:
    """Names of the packages that the lock installs there, and uv's message where it does not install."""
    call = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    call += [option for name in SOURCES for option in ("--no-binary", name)]
    call += ["--python-version", python, "--python-platform", platform, str(LOCK)]
    done = subprocess.run(call, cwd=HOME, env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": MACOS}, capture_output=True, text=True)
    return (locked(done.stdout), "") if done.returncode == 0 else (set(), done.stderr.strip())


def main() -> int:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        resolutions = list(pool.map(lambda pair: resolve(*pair), PAIRS))
    if any(sign in message for _, message in resolutions for sign in OFFLINE):
        print("lock: skipped: no package index can be reached. It was not checked that requirements.lock installs everywhere.")
        return 0
    names, failures = locked(LOCK.read_text(encoding="utf-8")), 0
    for (python, platform), (needed, message) in zip(PAIRS, resolutions, strict=True):
        message = message or ", ".join(f"{name} is needed but not locked" for name in sorted(needed - names))
        if message:
            failures += 1
            print(f"lock: Python {python} on {platform}: {message}")
    print(f"lock: {len(names)} packages, {len(PAIRS) - failures} of {len(PAIRS)} pairs of Python and platform install")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
