"""A random sample of mutants of one area: ``python -m tests.mutation_sample --area access --count 150 --seed 1``.

All of them (``mutmut run``) take a night. Here mutmut works on a copy of the tree, with the tests that are about the
area; the same seed on the same code takes the same mutants. One that makes a test hang is noticed, too: pytest ends
that test. Of one that mutmut itself had to end nobody knows, since a busy machine looks the same; it is named.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DISK = ["devicemgr/daemon/checkpoint/*", "devicemgr/daemon/shared_directory.py"]
ON_DISK = ["tests/daemon/checkpoint", "tests/daemon/test_shared_directory.py"]
AREAS = {  # what is changed, and the tests that shall notice
    "core": (
        ["devicemgr/core/*"],
        ["tests/core", "tests/vectors", "tests/kubelet_defects", "tests/traces", "tests/test_arguments.py"],
    ),
    "access": (["devicemgr/daemon/access/*"], ["tests/daemon/access"]),
    "checkpoint": (
        ["devicemgr/core/checkpoint/*", *DISK],
        ["tests/core/checkpoint", "tests/kubelet_defects/test_restart.py", *ON_DISK],
    ),
    "transport": (["devicemgr/rpc/transport/*"], ["tests/rpc/transport"]),
}


SLOWER = 10.0
"""How many times as long as without a mutant the tests may take, on a machine that has become busy since."""


def mutmut(tree: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=tree, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def statuses(tree: Path) -> dict[str, str]:
    return dict(re.findall(r"^ +(\S+): (.*)$", mutmut(tree, "results", "--all", "true"), re.MULTILINE))


def prepare(tree: Path, area: str) -> None:
    """A copy of what mutmut needs, set up for one area."""
    project = (ROOT / "pyproject.toml").read_text()
    settings = tomllib.loads(project)["tool"]["mutmut"]
    settings["only_mutate"], settings["pytest_add_cli_args_test_selection"] = AREAS[area]
    settings["timeout_multiplier"] = SLOWER
    for name in ("devicemgr", "tests", *settings["also_copy"]):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tree / name)
    others = re.sub(r"(?ms)^\[tool\.mutmut\].*?^(?=\[)", "", project)
    lines = [f"{key} = {value!r}" for key, value in settings.items()]
    (tree / "pyproject.toml").write_text("\n".join([others, "[tool.mutmut]", *lines, ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--area", choices=AREAS, required=True)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-children", type=int, default=1, help="mutants at a time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        tree = Path(directory)
        prepare(tree, options.area)
        run = "run", "--max-children", str(options.max_children)
        mutmut(tree, *run, "none of them")  # makes them, and learns which test runs what
        names = sorted(statuses(tree))
        sample = sorted(random.Random(options.seed).sample(names, min(options.count, len(names))))
        output = mutmut(tree, *run, *sample)
        after = statuses(tree)
        missed = [name for name in sample if after[name] != "killed"]
        if not sample or "not checked" in map(after.get, sample):
            raise SystemExit(output)
        for name in missed:
            print(mutmut(tree, "show", name))
    share = 1 - len(missed) / len(sample)
    print(f"{options.area}: {len(sample) - len(missed)} of {len(sample)} were noticed ({share:.0%}), of {len(names)}")


if __name__ == "__main__":
    main()
