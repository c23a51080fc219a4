"""What the system allows this program: files that are open, threads. Too few are an error that says how to raise it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import LimitTooLow


def raise_descriptor_limit(needed: int = 0, *, what: str = "this") -> None:
    """To what is allowed: the usual soft limit of 1024 is for programs with select(). Raises LimitTooLow if that is
    less than what is ``needed``."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < needed and most != resource.RLIM_INFINITY:
        raise LimitTooLow(
            f"{what} needs about {needed} open files, and this process may have {most}: ask for fewer nodes, or raise "
            "its hard limit (ulimit -Hn in a shell of root, LimitNOFILE= of systemd, --ulimit nofile= of Docker)"
        )


@contextmanager
def too_few_threads_readable() -> Iterator[None]:
    """Whether there is room for one more is known only when it is started. Raises LimitTooLow."""
    try:
        yield
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        raise LimitTooLow(
            "the system lets this user, or this container, start no more threads: end other programs, or raise the "
            "limit (ulimit -u, TasksMax= of systemd, --pids-limit of Docker)"
        ) from error
