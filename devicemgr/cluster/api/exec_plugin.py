"""Exec plug-ins: programs that print credentials, such as ``aws eks get-token``.

::

    the kubeconfig's command, args and env
    KUBERNETES_EXEC_INFO   an ExecCredential whose spec says who asks ──▶ program
    standard output        the same, with a status: token, certificate, when they expire ◀──┘

It is run when the first credentials are needed, when they have expired, and when the API server does not know them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from subprocess import DEVNULL, PIPE
from typing import Any

import trio

from ...concurrency.exception_groups import collapse_exception_group
from ...errors import BadInput, CredentialsUnavailable
from ...input.kubeconfig import Entry, bad
from .answers import json_of
from .connection import ClientCertificate, Identity
from .tokens import header_of_token

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_CLUSTER_EXTENSION = "client.authentication.k8s.io/exec"
PATIENCE = 60.0
"""Seconds that it may take, unless it asks a person."""
LONGEST_OUTPUT = 1 << 20
"""Bytes of its standard output, and of its standard error. Credentials are some thousands."""
PAUSE = 10.0
"""Seconds between two runs: whatever it does, hundreds of requests do not start it hundreds of times."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Program:
    """What a kubeconfig says of it; ``entry`` is the place, for errors."""

    entry: Entry = field(repr=False)
    command: str
    arguments: Sequence[str] = field(repr=False)
    environment: Sequence[tuple[str, str]] = field(repr=False)
    info: dict[str, Any] = field(repr=False)
    """The ExecCredential that it is given."""
    install_hint: str

    @property
    def is_interactive(self) -> bool:
        return bool(self.info["spec"]["interactive"])

    def bad(self, problem: str) -> BadInput:
        return bad(self.entry.place, f"{self.command} {problem}")

    def found(self) -> str:
        """Where it is. Raises BadInput."""
        if path := shutil.which(self.command):
            return path
        hint = f". It says: {self.install_hint}" if self.install_hint else ""
        raise bad(self.entry.fields["command"], f"there is no program {self.command} (looked for in PATH){hint}")


class ExecPlugin:
    """Credentials from a program."""

    def __init__(self, program: Program, impersonation: Headers = ()) -> None:
        self._program = program
        self._impersonation = impersonation
        self._lock = trio.Lock()
        """One run at a time: it may ask somebody for a password."""
        self._identity: Identity | None = None
        self._expires = float("inf")
        self._ran_at = float("-inf")
        self._failure = ""

    async def identity(self) -> Identity:
        async with self._lock:
            if self._identity is None or trio.current_time() >= self._expires:
                await self._run()
            if self._identity is None:
                raise CredentialsUnavailable(self._failure)
            return self._identity

    async def renew(self, refused: Identity) -> None:
        async with self._lock:
            if self._identity == refused:
                await self._run()

    async def _run(self) -> None:
        """Keeps what there is if it fails: those credentials may be good for longer than they say."""
        if trio.current_time() < self._ran_at + PAUSE:
            return
        try:
            credential = _status_of(await _output_of(self._program), self._program)
            self._identity, lifetime = _identity_of(credential, datetime.now(UTC), self._impersonation)
        except (ValueError, BadInput) as failure:
            self._ran_at = trio.current_time()
            found = failure if isinstance(failure, BadInput) else self._program.bad(str(failure))
            self._failure = f"no credentials for the API server: {found}"
            if self._identity is None:
                raise CredentialsUnavailable(self._failure) from None
        else:  # not one that was cancelled: whoever is next has to run it
            self._ran_at = trio.current_time()
            self._expires = self._ran_at + lifetime


def exec_plugin(entry: Entry, cluster: Entry, *, impersonation: Headers) -> ExecPlugin:
    """``entry`` is the user's ``exec``. Raises BadInput if it cannot be run."""
    command = entry.text("command")
    if not command:
        raise bad(entry.place, "it names no command")
    version = entry.text("apiVersion")
    if version not in VERSIONS:
        place = entry.fields.get("apiVersion", entry.place)
        what = "must be" if "apiVersion" in entry.fields else "it has no apiVersion, which must be"
        raise bad(place, f"{what} one of {', '.join(VERSIONS)}: a newer release of the plug-in has one of them")
    if os.sep in command:
        command = str(entry.directory / command)
    info: dict[str, Any] = {"apiVersion": version, "kind": "ExecCredential"}
    info["spec"] = {"interactive": _is_interactive(entry)}
    if entry.is_set("provideClusterInfo"):
        info["spec"]["cluster"] = _cluster_info(cluster)
    environment = [(one.text("name"), one.text("value")) for one in entry.entries("env")]
    program = Program(entry, command, entry.texts("args"), environment, info, _one_line(entry.text("installHint")))
    program.found()
    return ExecPlugin(program, impersonation)


def _is_interactive(entry: Entry) -> bool:
    """May it ask on the terminal?"""
    mode = entry.text("interactiveMode") or "IfAvailable"
    if mode not in ("Never", "IfAvailable", "Always"):
        raise bad(entry.fields["interactiveMode"], "must be Never, IfAvailable or Always")
    has_terminal = sys.stdin is not None and sys.stdin.isatty()
    if mode == "Always" and not has_terminal:
        raise bad(entry.fields["interactiveMode"], "it has to ask somebody, and standard input is no terminal")
    return has_terminal and mode != "Never"


def _cluster_info(cluster: Entry) -> dict[str, Any]:
    info: dict[str, Any] = {name: cluster.text(name) for name in ("server", "tls-server-name", "proxy-url")}
    info["insecure-skip-tls-verify"] = cluster.is_set("insecure-skip-tls-verify")
    if authority := cluster.data("certificate-authority"):
        info["certificate-authority-data"] = base64.b64encode(authority).decode()
    for one in cluster.entries("extensions"):
        if one.text("name") == _CLUSTER_EXTENSION and "extension" in one.fields:
            info["config"] = one.plain("extension")
    return {name: value for name, value in info.items() if value}


async def _output_of(program: Program) -> bytes:
    """Raises BadInput if it cannot be started or fails."""
    given = {**os.environ, **dict(program.environment), "KUBERNETES_EXEC_INFO": json.dumps(program.info)}
    run = partial(
        trio.run_process,
        [program.found(), *program.arguments],
        env=given,
        stdin=None if program.is_interactive else DEVNULL,
        stdout=PIPE,
        stderr=None if program.is_interactive else PIPE,
        check=False,
    )
    output, complaint = bytearray(), bytearray()
    with trio.move_on_after(float("inf") if program.is_interactive else PATIENCE) as patience:
        try:
            with collapse_exception_group():
                async with trio.open_nursery() as nursery:
                    process: trio.Process = await nursery.start(run)
                    for stream, into in ((process.stdout, output), (process.stderr, complaint)):
                        if stream is not None:
                            nursery.start_soon(_read, stream, into, program)
        except OSError as error:
            raise program.bad(f"cannot be run: {error.strerror}") from error
    if patience.cancelled_caught:
        raise program.bad(f"has not ended after {PATIENCE:g} s")
    if process.returncode:
        said = _without_secrets(_one_line(complaint.decode(errors="replace"))[-500:], program)
        raise program.bad(f"has ended with status {process.returncode}{f': {said}' if said else ''}")
    return bytes(output)


async def _read(stream: trio.abc.ReceiveStream, into: bytearray, program: Program) -> None:
    """Raises BadInput if there is no end of it."""
    async for data in stream:
        into += data
        if len(into) > LONGEST_OUTPUT:
            raise program.bad(f"has printed more than {LONGEST_OUTPUT >> 20} MiB")


def _status_of(output: bytes, program: Program) -> dict[str, Any]:
    """Raises BadInput, which does not quote the output."""
    credential = json_of(output)
    if not isinstance(credential, dict):
        raise program.bad("has not printed an ExecCredential in JSON")
    if credential.get("apiVersion") != program.info["apiVersion"]:
        raise program.bad("has printed another apiVersion than that of the kubeconfig")
    status = credential.get("status")
    if not isinstance(status, dict):
        raise program.bad("has printed an ExecCredential without status")
    return status


def _identity_of(status: dict[str, Any], now: datetime, impersonation: Headers) -> tuple[Identity, float]:
    """And the seconds that it is good for, by the clock of this machine, where the program runs too. Raises
    ValueError."""
    token, certificate, key = (
        value if isinstance(value := status.get(name), str) else ""
        for name in ("token", "clientCertificateData", "clientKeyData")
    )
    if not token and not certificate:
        raise ValueError("has printed neither a token nor a certificate")
    if bool(certificate) != bool(key):
        raise ValueError("has printed a certificate or a key, and not both")
    headers = (*([header_of_token(token)] if token else []), *impersonation)
    pair = ClientCertificate(certificate.encode(), key.encode()) if certificate else None
    expires = status.get("expirationTimestamp")
    if not expires:
        return Identity(headers, pair), float("inf")
    try:
        until = datetime.fromisoformat(expires)
        lifetime = (until - now).total_seconds()
    except (ValueError, TypeError):
        raise ValueError("has printed an expirationTimestamp that is no time of RFC 3339") from None
    return Identity(headers, pair), lifetime


def _without_secrets(text: str, program: Program) -> str:
    for _, value in program.environment:
        if len(value) > 3:
            text = text.replace(value, "[hidden]")
    return text


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
