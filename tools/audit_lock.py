"""Is a version in requirements.lock known to be vulnerable? `make audit`: pip-audit, in an environment of its own (build/.audit).

Ends with 1 where a vulnerability is known. Where pip-audit cannot be installed, or its advisory service (PyPI's, or OSV) cannot
be reached within some seconds, it says that it was skipped and ends with 0: no network is no vulnerability, and no proof either.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
ROOM, LOCK = HOME / "build" / ".audit", HOME / "requirements.lock"
TOOL = "pip-audit==2.10.1"
# What each service answers where it is there: an index of packages alone, as a mirror is, has no advisories.
SERVICES = {"pypi": "https://pypi.org/pypi/pip/9.0.1/json", "osv": "https://api.osv.dev/v1/vulns/PYSEC-2021-437"}
WAIT, INSTALL, AUDIT = 5, 300, 600  # seconds


def reachable() -> str:
    """The first advisory service that answers with advisories; empty where none does."""
    for name, address in SERVICES.items():
        try:
            with urllib.request.urlopen(address, timeout=WAIT) as answer:
                content = json.load(answer)
        except (OSError, ValueError):  # no route, refused, a page of HTML
            continue
        if content.get("vulnerabilities") or content.get("id"):
            return name
    return ""


def installed() -> str:
    """The program, installed where it is not there; empty where that fails."""
    program = ROOM / "bin" / "pip-audit"
    if not program.is_file():
        quiet = {"capture_output": True, "timeout": INSTALL}
        try:
            subprocess.run([sys.executable, "-m", "venv", str(ROOM)], check=True, **quiet)
            subprocess.run([str(ROOM / "bin" / "python"), "-m", "pip", "install", "-q", TOOL], check=True, **quiet)
        except (OSError, subprocess.SubprocessError):
            return ""
    return str(program) if program.is_file() else ""


def audit(program: str, service: str) -> int:
    """0 where nothing is known, 1 where something is; a service that breaks off counts as one that cannot be reached."""
    call = [program, "--requirement", str(LOCK), "--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(
            [*call, "--vulnerability-service", service, "--timeout", "15"], capture_output=True, text=True, timeout=AUDIT
        )
    except subprocess.TimeoutExpired:
        return skipped(f"the advisory service took more than {AUDIT} s")
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
        return skipped(f"pip-audit could not finish ({reason})")
    unknown = [one["name"] for one in found if "skip_reason" in one]
    lines = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in found
        for flaw in one.get("vulns", [])
    ]
    print("\n".join(lines))
    print(f"audit: {len(found) - len(unknown)} locked packages looked up at {service}, {len(lines)} known vulnerabilities")
    if unknown:
        print(f"audit: not looked up: {', '.join(unknown)}")
    return 1 if lines else 0


def skipped(reason: str) -> int:
    print(f"audit: skipped: {reason}. requirements.lock was not checked for known vulnerabilities.")
    return 0


def main() -> int:
    service = reachable()
    if not service:
        return skipped("the advisory service cannot be reached")
    program = installed()
    return audit(program, service) if program else skipped("pip-audit could not be installed")


if __name__ == "__main__":
    sys.exit(main())
