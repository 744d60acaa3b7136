"""Are the digests in `cyborg_utils/models/recipes.py` those of the code? `--write` records the present ones.

Write them where the change cannot alter a number, or after raising the version.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from cyborg_utils.core import atomic, paths
from cyborg_utils.models import recipes

PACKAGE = paths.CHECKOUT / "cyborg_utils"


def changed(package: Path = PACKAGE) -> dict[str, str]:
    """Recipes whose code is not the recorded one, with the digest of today."""
    present = {name: recipes.digest(recipe, package) for name, recipe in recipes.RECIPES.items()}
    return {name: digest for name, digest in present.items() if digest != recipes.RECIPES[name].digest}


def message(name: str) -> str:
    files = ", ".join(recipes.RECIPES[name].files)
    return (
        f"{name}: its code changed ({files}). Where numbers may change, raise its version in cyborg_utils/models/recipes.py; "
        "then, or where they cannot, record the code: python tools/recipes.py --write"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="record the digests of the present code")
    options = parser.parse_args(arguments)
    differ = changed()
    if options.write:
        file = PACKAGE / "models" / "recipes.py"
        text = file.read_text(encoding="utf-8")
        for name, digest in differ.items():
            text = re.sub(rf'(^{name} = Recipe\(.*?digest=)"\w*"', rf'\g<1>"{digest}"', text, count=1, flags=re.S | re.M)
        atomic.write(file, text)
    else:
        print(*map(message, differ), sep="\n", file=sys.stderr)
    return int(bool(differ) and not options.write)


if __name__ == "__main__":
    sys.exit(main())
