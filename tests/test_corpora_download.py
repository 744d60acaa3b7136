"""Downloads against a server of our own on 127.0.0.1: resumed, checked, never overwriting."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import download
from cyborg_utils.run import cli

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT. `ranges`: honours Range; `breaks`: how many answers stop halfway. `asked`: the Range of each request."""

    ranges = True
    breaks = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "corpus.csv"


def part_of(target: Path, content: bytes) -> Path:
    part = target.with_name("corpus.csv.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    return part


def test_a_whole_download_is_checked_and_leaves_no_part(server: Server, target: Path):
    assert download.fetch(server.url, SHA256, target) == target
    assert target.read_bytes() == CONTENT and [p.name for p in target.parent.iterdir()] == ["corpus.csv"]
    assert server.asked == [None]


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, target: Path):
    part_of(target, CONTENT[:300_000])
    download.fetch(server.url, SHA256, target)
    assert server.asked == ["bytes=300000-"] and target.read_bytes() == CONTENT


def test_a_broken_connection_is_taken_up_again_within_one_call(server: Server, target: Path):
    server.breaks = 2
    download.fetch(server.url, SHA256, target)
    half = len(CONTENT) // 2
    assert server.asked == [None, f"bytes={half}-", f"bytes={half + (len(CONTENT) - half) // 2}-"]
    assert target.read_bytes() == CONTENT


def test_after_too_many_breaks_the_part_is_kept_for_the_next_call(server: Server, target: Path):
    server.breaks = 3
    with pytest.raises(CyborgError, match="call again to go on"):
        download.fetch(server.url, SHA256, target)
    assert not target.exists() and 0 < target.with_name("corpus.csv.part").stat().st_size < len(CONTENT)
    download.fetch(server.url, SHA256, target)
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_from_the_start(server: Server, target: Path):
    server.ranges = False
    part_of(target, b"something else")
    download.fetch(server.url, SHA256, target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_finished_and_a_longer_one_begins_anew(server: Server, target: Path):
    part_of(target, CONTENT)
    download.fetch(server.url, SHA256, target)
    assert target.read_bytes() == CONTENT
    other = target.with_name("other.csv")
    other.with_name("other.csv.part").write_bytes(CONTENT + b"too long")
    download.fetch(server.url, SHA256, other)
    assert other.read_bytes() == CONTENT


def test_wrong_content_is_refused_and_removed(server: Server, target: Path):
    with pytest.raises(CyborgError, match="sha256 is"):
        download.fetch(server.url, "0" * 64, target)
    assert list(target.parent.iterdir()) == []


def test_an_existing_file_is_never_overwritten(server: Server, target: Path):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(CyborgError, match="not overwritten"):
        download.fetch(server.url, SHA256, target)
    assert download.fetch(server.url, "", target) == target  # nothing known of it: kept as it is
    assert target.read_bytes() == b"mine" and server.asked == []


def test_no_server_is_an_error_that_keeps_what_came(target: Path):
    part_of(target, CONTENT[:100])
    with pytest.raises(CyborgError, match="call again to go on"):
        download.fetch("http://127.0.0.1:9/file", SHA256, target, attempts=1)
    assert target.with_name("corpus.csv.part").read_bytes() == CONTENT[:100]


def test_unlock_takes_one_member_and_keeps_what_is_there(tmp_path: Path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("__MACOSX/._corpus.csv", "junk")
        packed.writestr("inner/corpus.csv", CONTENT)
    target = download.unlock(archive, "corpus.csv", "", tmp_path / "corpus.csv", SHA256)
    assert target.read_bytes() == CONTENT
    target.write_bytes(b"mine")
    with pytest.raises(CyborgError, match="not overwritten"):
        download.unlock(archive, "corpus.csv", "", target, SHA256)
    with pytest.raises(CyborgError, match="holds no missing.csv"):
        download.unlock(archive, "missing.csv", "", tmp_path / "missing.csv")
    archive.write_bytes(b"no zip")
    with pytest.raises(CyborgError, match="7-Zip"):
        download.unlock(archive, "corpus.csv", "word", tmp_path / "again.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "corpus.csv"]


def test_a_corpus_is_fetched_unlocked_and_afterwards_left_alone(server: Server, tmp_path: Path, monkeypatch):
    item = download.Item(url=server.url, name="corpus.csv", sha256=SHA256)
    monkeypatch.setitem(download.CORPORA, "ellipse", [item])
    monkeypatch.setenv("CYBORG_DATA_DIR", str(tmp_path))
    for _ in range(2):
        cli.main(["download", "ellipse"])
    assert (tmp_path / "ellipse" / "corpus.csv").read_bytes() == CONTENT and len(server.asked) == 1


def test_what_cannot_be_fetched_ends_with_how_to_do_it_by_hand(server: Server, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setitem(download.CORPORA, "persuade", [download.Item(url=server.url, name="x.csv", sha256="0" * 64)])
    monkeypatch.setenv("CYBORG_DATA_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main(["download", "persuade"])
    said = str(ended.value)
    assert "persuade_test" in said and "scrosseye/persuade_corpus_2.0" in said and "login page" in said
    with pytest.raises(SystemExit, match="nothing: no corpus to fetch"):
        cli.main(["download", "nothing"])
    with pytest.raises(SystemExit) as ended:
        cli.main(["download"])
    assert ended.value.code == 2


ARCHIVE = download.CORPORA["ellipse"][0]
REAL_ZIP = next((p for f in paths.data_folders() if (p := f / "ellipse" / ARCHIVE.name).is_file()), None)


@pytest.mark.skipif(REAL_ZIP is None, reason=f"{ARCHIVE.name} is not here (not shipped: its licence)")
def test_the_published_password_opens_the_real_archive(tmp_path: Path):
    path = download.unlock(REAL_ZIP, ARCHIVE.member, ARCHIVE.password, tmp_path / ARCHIVE.member, ARCHIVE.member_sha256)
    assert path.stat().st_size == 6_383_207
    with pytest.raises(CyborgError, match="7-Zip"):
        download.unlock(REAL_ZIP, ARCHIVE.member, "wrong", tmp_path / "again.csv")
