"""The command line: every command says what it does, errors are one message, and help is quick."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

import pytest
from conftest import CHECKOUT

from cyborg_utils.run import cli

(COMMANDS,) = (action.choices for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_an_example_that_it_takes(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    text = capsys.readouterr().out
    (example,) = re.findall(r"example:\n  cyborg (.+)", text)
    assert ended.value.code == 0 and cli.parser().parse_args(example.split()).does is getattr(cli, name)


@pytest.mark.parametrize(
    "call", [["reproduce", "nobody", "--dry-run"], ["site", "nobody"], ["cards", "nobody"], ["download", "nobody"]]
)
def test_an_unknown_name_is_one_message(project, call, capsys):
    with pytest.raises(SystemExit, match="nobody") as ended:
        cli.main(call)
    assert "Traceback" not in str(ended.value)


def test_help_waits_for_no_model_library():
    heavy = "{'torch', 'transformers', 'snakemake'}"
    look = f"import sys; from cyborg_utils.run import cli; cli.parser().format_help(); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "cyborg_utils", "--help"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert all(re.search(rf"^ +{name}\b", done.stdout, flags=re.MULTILINE) for name in COMMANDS)
