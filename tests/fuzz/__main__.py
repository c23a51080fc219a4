"""``python -m tests.fuzz TARGET [--seconds 60] [--add]``: atheris on one target, from its stored corpus on.

What it finds is kept in ``tests/fuzz/corpus/TARGET`` as ``crash-…``, and from then on run by every test run; with
``--add`` the inputs that reach new code are kept, too. Needs ``pip install '.[fuzz]'``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["devicemgr"]):
    from .targets import CORPUS, TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--add", action="store_true", help="keep what reaches new code")
    arguments = parser.parse_args()
    corpus = CORPUS / arguments.target
    corpus.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        found = [str(corpus)] if arguments.add else [scratch, str(corpus)]
        limits = [
            f"-max_total_time={arguments.seconds}",
            f"-artifact_prefix={corpus}/",
            "-max_len=4096",
            "-verbosity=1",
        ]
        atheris.Setup([sys.argv[0], *limits, *found], TARGETS[arguments.target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
