"""The daemon in a process of its own, for the benchmark, the soak and crash tests, and those against hostile peers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from .processes import HANGS

TICK = 1 / os.sysconf("SC_CLK_TCK")
COMMAND = [sys.executable, "-m", "devicemgr"]


def processor_seconds(pid: int) -> float:
    """What a process has taken of the processor until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def resident_bytes(pid: int) -> int:
    """What a process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has ended")


class Daemon:
    def __init__(self, root: Path, *options: str):
        self.root = root
        started = time.perf_counter()
        (root.parent / "daemon.log").unlink(missing_ok=True)
        self._log = (root.parent / "daemon.log").open("a+")  # read through another one: the two would share an offset
        self.process = subprocess.Popen([*COMMAND, "--root-dir", root, *options], stderr=self._log)
        while "ManagerReady" not in self.log:
            assert self.process.poll() is None, self.log
            time.sleep(0.001)
        self.ready_after = time.perf_counter() - started

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text()

    @property
    def memory(self) -> int:
        """Bytes resident."""
        return resident_bytes(self.pid)

    @property
    def processor_seconds(self) -> float:
        return processor_seconds(self.process.pid)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        """Its log; the process has ended."""
        self._log.close()

    def stop(self):
        self.process.terminate()
        try:
            assert self.process.wait(HANGS) == 0, self.log
        finally:
            self.kill()  # should it hang
            self.close()


@contextmanager
def open_daemon(*options: str, config: str = ""):
    """A daemon on a directory of its own; ``config`` is the text of a KubeletConfiguration."""
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        if config:
            file = Path(made) / "config.yaml"
            file.write_text(config)
            options = ("--config", str(file), *options)
        daemon = Daemon(Path(made) / "node", *options)
        try:
            yield daemon
        finally:
            daemon.stop()
