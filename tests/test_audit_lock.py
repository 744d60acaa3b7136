"""The audit of the lock fails on a known vulnerability, and says so where it could not look."""

from __future__ import annotations

import http.server
import importlib.util
import json
import subprocess
import threading

import pytest
from conftest import CHECKOUT

spec = importlib.util.spec_from_file_location("audit_lock", CHECKOUT / "tools" / "audit_lock.py")
audit_lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit_lock)


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A program in place of pip-audit; calling the fixture's value says what it prints and how it ends."""
    monkeypatch.setattr(audit_lock, "ROOM", tmp_path)
    program = tmp_path / "bin" / "pip-audit"
    program.parent.mkdir()

    def speaks(output: str, code: int = 0, error: str = "") -> None:
        (tmp_path / "said").write_text(output)
        program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/asked\necho '{error}' >&2\ncat {tmp_path}/said\nexit {code}\n")
        program.chmod(0o755)

    monkeypatch.setattr(audit_lock, "reachable", lambda: "osv")
    return speaks


def answer(*flaws: dict) -> str:
    good = {"name": "numpy", "version": "2.4.6", "vulns": []}
    return json.dumps({"dependencies": [good, {"name": "torch", "version": "2.13.0", "vulns": list(flaws)}]})


def test_a_known_vulnerability_fails(room, tmp_path, capsys):
    room(answer({"id": "PYSEC-2026-1", "fix_versions": ["2.13.1"]}, {"id": "PYSEC-2026-2", "fix_versions": []}), code=1)
    assert audit_lock.main() == 1
    told = capsys.readouterr().out
    assert "torch 2.13.0: PYSEC-2026-1, mended in 2.13.1" in told and "PYSEC-2026-2, mended in no version yet" in told
    assert "2 locked packages looked up at osv, 2 known vulnerabilities" in told
    asked = (tmp_path / "asked").read_text()
    assert f"--requirement {audit_lock.LOCK} --no-deps --disable-pip" in asked and "--vulnerability-service osv" in asked


def test_a_clean_lock_passes(room, capsys):
    room(answer())
    assert audit_lock.main() == 0
    assert "2 locked packages looked up at osv, 0 known vulnerabilities" in capsys.readouterr().out


def test_packages_that_were_not_looked_up_are_named(room, capsys):
    room(json.dumps({"dependencies": [{"name": "mine", "skip_reason": "not on PyPI"}]}))
    assert audit_lock.main() == 0
    assert "0 locked packages" in (told := capsys.readouterr().out) and "not looked up: mine" in told


def test_a_service_that_breaks_off_is_a_skip_with_its_reason(room, capsys):
    room("", code=1, error="connection refused")
    assert audit_lock.main() == 0
    assert "skipped: pip-audit could not finish (connection refused)" in capsys.readouterr().out


def test_no_service_is_a_skip(monkeypatch, capsys):
    monkeypatch.setattr(audit_lock, "SERVICES", {"pypi": "http://127.0.0.1:1/", "osv": "http://127.0.0.1:1/"})
    assert audit_lock.main() == 0
    assert capsys.readouterr().out == (
        "audit: skipped: the advisory service cannot be reached. requirements.lock was not checked for known vulnerabilities.\n"
    )


def test_a_tool_that_cannot_be_installed_is_a_skip(monkeypatch, tmp_path, capsys):
    def refuse(*_, **__):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(audit_lock, "ROOM", tmp_path / "none")
    monkeypatch.setattr(audit_lock, "reachable", lambda: "pypi")
    monkeypatch.setattr(audit_lock.subprocess, "run", refuse)
    assert audit_lock.main() == 0
    assert "skipped: pip-audit could not be installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "body, found", [(b'{"vulnerabilities": [{"id": "PYSEC-1"}]}', "pypi"), (b'{"vulnerabilities": []}', ""), (b"<html>", "")]
)
def test_a_mirror_without_advisories_is_no_service(monkeypatch, body, found):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(audit_lock, "SERVICES", {"pypi": f"http://127.0.0.1:{server.server_port}/"})
    try:
        assert audit_lock.reachable() == found
    finally:
        server.shutdown()


def test_ci_runs_it_and_make_knows_it():
    assert "\nmake audit\n" in (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8")
    assert "tools/audit_lock.py" in (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert "pip-audit" not in (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
