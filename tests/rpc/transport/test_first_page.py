"""The first page of the transport names every limit of a connection, once, and a file to read on in."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from devicemgr.rpc import transport
from devicemgr.rpc.transport.limits import ConnectionLimits

FOLDER = Path(transport.__file__).parent


def test_every_limit_is_in_the_table_with_the_file_that_keeps_it():
    rows = re.findall(r"^\S.*?  +``(\w+)``  +``(\w+)``: ", transport.__doc__, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(field.name for field in fields(ConnectionLimits))
    for name, file in rows:
        assert name in (FOLDER / file).with_suffix(".py").read_text(), f"{file} has nothing to do with {name}"
