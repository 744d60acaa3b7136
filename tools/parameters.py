"""Write what follows from `cyborg_utils/core/parameters.py`: params/schema.json and the notebooks' parameters cells.

`python tools/parameters.py` writes them, `--check` ends with code 1 and names those that differ.

A cell gives each parameter as `name: type = value  # meaning`: the demo study's value where it gives one, else the default, or an
example where the default makes no sense on the demo's essays. profile, fraction and seed are in no section: their lines stay.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from pathlib import Path
from typing import Any, get_origin

from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from cyborg_utils.core import atomic, config, paths
from cyborg_utils.core.parameters import SECTIONS, StudyFile

NOT_OF_A_SECTION = ("profile", "fraction", "seed")


class Untitled(GenerateJsonSchema):
    """Without pydantic's titles, which only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> str:
    """The JSON Schema of a study file, for editors."""
    content = StudyFile.model_json_schema(schema_generator=Untitled)
    return json.dumps({"$schema": Untitled.schema_dialect, **content}, indent=1, ensure_ascii=False) + "\n"


def cell(source: str, notebook: str, demo: config.Study) -> str:
    """The parameters cell of a notebook; a value that is the same already keeps its spelling (1.0e-03)."""
    lines = {line.partition(":")[0]: line for line in source.splitlines()}
    written = [lines[name] for name in NOT_OF_A_SECTION if name in lines]
    section, given = notebook.lstrip("0123456789_"), demo.section(notebook)
    for name, field in SECTIONS[section].model_fields.items() if section in SECTIONS else ():
        value = given[name] if name in given else _shown(field)
        earlier = lines.get(name, "").partition(" = ")[2]
        kind = get_origin(field.annotation) or field.annotation
        kind = kind if isinstance(kind, type) else str  # Literal
        written.append(f"{name}: {kind.__name__} = {_spelled(value, earlier)}  # {field.description}")
    return "\n".join(written)


def _shown(field: FieldInfo) -> Any:
    return field.examples[0] if field.examples else field.default


def _spelled(value: Any, earlier: str) -> str:
    for end in [at for at, sign in enumerate(earlier + "#") if sign == "#"]:
        try:
            if repr(ast.literal_eval(earlier[:end].strip())) == repr(value):
                return earlier[:end].strip()
        except (SyntaxError, ValueError):
            continue
    return repr(value).replace("'", '"')


def changes() -> dict[Path, str]:
    """Files that are not as they should be, with their new content."""
    wanted = {paths.params_file("x").with_name("schema.json"): schema()}
    demo = config.load("demo")
    for file in paths.notebooks():
        notebook = json.loads(file.read_text(encoding="utf-8"))
        (tagged,) = [one for one in notebook["cells"] if "parameters" in one["metadata"].get("tags", [])]
        tagged["source"] = cell("".join(tagged["source"]), file.stem, demo).splitlines(keepends=True)
        wanted[file] = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    return {file: text for file, text in wanted.items() if not file.is_file() or file.read_text(encoding="utf-8") != text}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with code 1 where a file differs")
    options = parser.parse_args(arguments)
    differ = changes()
    for file, text in differ.items():
        if options.check:
            print(f"{paths.shown(file)} is not what parameters.py says. Run: python tools/parameters.py", file=sys.stderr)
        else:
            atomic.write(file, text)
            print(f"{paths.shown(file)} written")
    return int(options.check and bool(differ))


if __name__ == "__main__":
    sys.exit(main())
