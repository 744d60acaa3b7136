"""Fetch a corpus: `cyborg download ellipse|asap2|persuade`.

Files go to `CYBORG_DATA_DIR`, else to `data/` of the project, in a folder named after the corpus. Each is checked by its sha256
where one is known. Interrupted downloads are continued, and no file is ever overwritten. All corpora are licensed CC BY-NC-SA 4.0
(ASAP 2.0: CC BY 4.0 according to its README): you may use them, but this project must not ship them.
"""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cyborg_utils.core import paths, provenance
from cyborg_utils.core.errors import CyborgError

ELLIPSE = "https://raw.githubusercontent.com/scrosseye/ELLIPSE-Corpus/main/"
ASAP2 = "https://raw.githubusercontent.com/scrosseye/ASAP_2.0/060ab225ca0984c0bf43ff222bf6bb2bc6195b6f/"  # pinned to a commit
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
BLOCK = 1 << 20


@dataclass(frozen=True)
class Item:
    """A file to fetch; for a zip also the member wanted and the published password. `sha256` "" = not known."""

    url: str
    name: str
    sha256: str = ""
    password: str = ""
    member: str = ""
    member_sha256: str = ""


CORPORA = {
    "ellipse": [
        Item(
            url=ELLIPSE + "ELLIPSE_Final_github_test.zip",
            name="ELLIPSE_Final_github_test.zip",
            sha256="9ecddfcda83f6a99c8a24dda47fb1c30673fedeaf578a0fadac6645fd151a2f8",
            password="ellipse_test",
            member="ELLIPSE_Final_github_test.csv",
            member_sha256="7e990c6392a9df9554d15bdd22f0b568d19095cd6676ad39cb1eaa69c977ed7a",
        ),
        Item(
            url=ELLIPSE + "ELLIPSE_Final_github_train.csv",
            name="ELLIPSE_Final_github_train.csv",
            sha256="782344e99668a3ff508d7410c0eb6e36da70f3b28f81c96e367f1ca04924b06c",
        ),
    ],
    "asap2": [
        Item(
            url=ASAP2 + f"ASAP_2_Final_github_{half}.zip",
            name=f"ASAP_2_Final_github_{half}.zip",
            password="asap2_test",  # of the test half; the training half has no password
            member=f"ASAP_2_Final_github_{half}.csv",
        )
        for half in ("train", "test")
    ],
    "persuade": [  # checksums as recorded by other projects, links and password from its README
        Item(
            url=DRIVE + "13phHyDzIsb0MHyJr6q-B-qIa9P2tM135",
            name="persuade_corpus_2.0_train.csv",
            sha256="f61319edd8bf16a982711ea0399fad59c05afaec05cdf0767f16a2c05c467e23",
        ),
        Item(
            url=DRIVE + "1K1SIJiG-2zWgMlTzxQeYOcLwOsFaVel1",
            name="persuade_corpus_2.0_test.zip",
            sha256="51c907f90b1303d610e8fcd8c0cbf3656ec88116bc34b60b93794affa77facb2",
            password="persuade_test",
            member="persuade_corpus_2.0_test.csv",
        ),
    ],
}
BY_HAND = {
    "persuade": (
        "Google Drive does not always let a script in. By hand: open https://github.com/scrosseye/persuade_corpus_2.0, follow "
        "its links to the training set and the test set, unlock the test zip (password persuade_test) and put "
        "persuade_corpus_2.0_train.csv and persuade_corpus_2.0_test.csv into {folder}. On Kaggle nbroad/persaude-corpus-2 has "
        "persuade_2.0_human_scores_demo_id_github.csv (one row an essay, without the official split), which works as well."
    ),
    "ellipse": "By hand: put the files of https://github.com/scrosseye/ELLIPSE-Corpus (zip password ellipse_test) into {folder}.",
    "asap2": "By hand: put the CSVs of https://github.com/scrosseye/ASAP_2.0 (zip password asap2_test) into {folder}.",
}


def fetch(url: str, sha256: str, target: Path, *, attempts: int = 3) -> Path:
    """Download `url` to `target` through `target.part`, which a later call (or attempt) continues with an HTTP Range.

    An existing target is kept and returned. Raises CyborgError where it has another sha256, where the server cannot be reached or
    breaks off `attempts` times, and where the download has another sha256 (it is then deleted).
    """
    if target.exists():
        _expect(target, sha256, "It is not overwritten: move it away to fetch it again.")
        print(f"{target.name}: already there")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(attempts):
        try:
            if _receive(url, part):
                break
        except (OSError, urllib.error.URLError) as error:
            if attempt == attempts - 1:
                raise CyborgError(f"{url}: {error}. What came is kept in {paths.shown(part)}; call again to go on.") from error
    else:
        raise CyborgError(f"{url}: broke off {attempts} times. What came is kept in {paths.shown(part)}; call again to go on.")
    return _settle(part, target, sha256, "What came is not that file (a login page?), or it has changed at its source.")


def unlock(archive: Path, member: str, password: str, target: Path, sha256: str = "") -> Path:
    """Extract `member` from a zip with a password. An existing target is kept; raises CyborgError if it has another sha256."""
    if target.exists():
        _expect(target, sha256, "It is not overwritten: move it away to unpack it again.")
        return target
    part = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if Path(name).name == member and not name.startswith("__MACOSX")]
            if not names:
                raise CyborgError(f"{paths.shown(archive)}: holds no {member} but {', '.join(packed.namelist())[:300]}")
            with packed.open(names[0], pwd=password.encode()) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, BLOCK)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        part.unlink(missing_ok=True)
        raise CyborgError(f"{paths.shown(archive)}: {error}. Unpack it with 7-Zip or Keka, password {password}.") from error
    return _settle(part, target, sha256, "The archive holds another version.")


def corpus(name: str) -> list[Path]:
    """Fetch all files of a corpus; return its CSV files. Raises CyborgError that ends with instructions to do it by hand."""
    if name not in CORPORA:
        raise CyborgError(f"{name}: no corpus to fetch. There are {', '.join(CORPORA)}.")
    folder, ready = paths.data_folders()[0] / name, []
    try:
        for item in CORPORA[name]:
            table = folder / (item.member or item.name)
            if table.exists():
                _expect(table, item.member_sha256 or (item.sha256 if not item.member else ""), "Move it away to fetch it again.")
                print(f"{table.name}: already there")
            else:
                file = fetch(item.url, item.sha256, folder / item.name)
                table = unlock(file, item.member, item.password, table, item.member_sha256) if item.member else file
            ready.append(table)
    except CyborgError as error:
        raise CyborgError(f"{error}\n{BY_HAND[name].format(folder=paths.shown(folder))}") from error
    return ready


def _receive(url: str, part: Path) -> bool:
    """Download the rest of the file into `part`; False where the connection ended early."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "cyborg-data", **({"Range": f"bytes={have}-"} if have else {})})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # we have it all, or a part of another file
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return True
            part.unlink()
            return False
        raise
    with answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not goes_on:
            have = 0  # the server sends the file from its start
        length = answer.headers.get("Content-Length")
        whole = have + int(length) if length else None
        print(f"{part.name.removesuffix('.part')}: {'from ' + str(have) + ' of ' if have else ''}{whole or 'unknown'} bytes")
        with part.open("ab" if goes_on else "wb") as sink:
            while block := answer.read(BLOCK):
                sink.write(block)
    return whole is None or part.stat().st_size == whole


def _expect(path: Path, sha256: str, remedy: str) -> None:
    if sha256 and (found := provenance.sha256(path)) != sha256:
        raise CyborgError(f"{paths.shown(path)}: sha256 is {found[:16]}..., not {sha256[:16]}... {remedy}")


def _settle(part: Path, target: Path, sha256: str, remedy: str) -> Path:
    """Check the finished file and rename it to `target`; a wrong one is removed.

    Raises CyborgError for a wrong one, and where another process was first.
    """
    try:
        _expect(part, sha256, remedy)
    except CyborgError:
        part.unlink()
        raise
    if target.exists():
        raise CyborgError(
            f"{paths.shown(target)}: appeared meanwhile. It is not overwritten; the new copy is {paths.shown(part)}."
        )
    os.rename(part, target)
    return target
