"""``python -m tests.interop.met [--vendors DIRECTORY] [--before REVISION]``: the README's table of the plug-ins that
``check`` has met, made anew: each is built, if that is needed, and checked as its author would.

Vendors' programs are not built here: those are checked that are in DIRECTORY. With ``--before`` each is also checked by
the code of an earlier revision, for its seconds. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import running

from .building import NotToBeHad
from .checking import ROOT, Said, check
from .plugins_met import MET, Met
from .vendors import VENDORS, Vendor

HEADER = ("plug-in", "passed", "failed", "warnings", "skipped", "seconds", "before", "what was learnt")
NAMES = tuple(one.name for one in (*MET, *VENDORS))
LEARNT = {one.name: one.learnt for one in (*MET, *VENDORS)}
UNKNOWN = "–"
Checked = Callable[[Path], Said]
"""By the code of a tree."""


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="dm-") as scratch, _earlier(arguments.before) as before:
        print(_line(HEADER), f"|{'---|' * len(HEADER)}", sep="\n", flush=True)
        for name, checked in _all(Path(scratch), arguments.vendors):
            if arguments.only not in name:
                continue
            try:
                print(row_of(name, checked, before), flush=True)
            except NotToBeHad as reason:
                print(f"{name} is left out: {reason}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.interop.met", description="What check says of plug-ins.")
    parser.add_argument("--vendors", type=Path, metavar="DIRECTORY", help="where vendors' programs are")
    parser.add_argument("--before", metavar="REVISION", help="an earlier revision, for the seconds it takes")
    parser.add_argument("--only", default="", metavar="TEXT", help="those with this in their names")
    return parser.parse_args()


def _all(scratch: Path, programs: Path | None) -> Iterator[tuple[str, Checked]]:
    for number, one in enumerate((*MET, *VENDORS)):
        (own := scratch / str(number)).mkdir()
        yield one.name, _of_vendor(one, programs, own) if isinstance(one, Vendor) else _of_met(one, own)


def _of_met(met: Met, scratch: Path) -> Checked:
    return lambda tree: check(met.options, met.command(scratch), tree=tree)


def _of_vendor(vendor: Vendor, programs: Path | None, scratch: Path) -> Checked:
    def checked(tree: Path) -> Said:
        if programs is None:
            raise NotToBeHad("--vendors does not say where its program is")
        with tempfile.TemporaryDirectory(dir=scratch) as own:
            return vendor.check(programs, Path(own), tree=tree)

    return checked


def row_of(name: str, checked: Checked, before: Path | None) -> str:
    said = checked(ROOT)
    counts = (said.count(verdict) for verdict in ("passed", "failed", "warning", "skipped"))
    earlier = UNKNOWN if before is None else _seconds_of(checked, before)
    return _line((name, *map(str, counts), f"{said.seconds:.0f}", earlier, LEARNT[name]))


def _seconds_of(checked: Checked, before: Path) -> str:
    """Unknown where that code did not have the options."""
    try:
        return f"{checked(before).seconds:.0f}"
    except AssertionError as error:
        print(f"before: {error}", file=sys.stderr, flush=True)
        return UNKNOWN


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


@contextmanager
def _earlier(revision: str | None) -> Iterator[Path | None]:
    """A tree with the package as it was; None without a revision."""
    if revision is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="dm-") as directory:
        with running(["git", "archive", revision, "devicemgr"], cwd=ROOT, stdout=subprocess.PIPE) as archive:
            with tarfile.open(fileobj=archive.stdout, mode="r|") as files:
                files.extractall(directory, filter="data")
        yield Path(directory)


if __name__ == "__main__":
    main()
