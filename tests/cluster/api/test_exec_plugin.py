"""Programs that print credentials."""

from __future__ import annotations

import base64
import json
import os
import sys

import pytest
import trio

from devicemgr.cluster.api import exec_plugin
from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.api.kubeconfig import find_connection
from devicemgr.errors import ApiError, BadInput, CredentialsUnavailable

from .scripted_server import CERTIFICATE, KEY, Exchange, scripted_server
from .test_kubeconfig import encoded

AUTHORITY = encoded(CERTIFICATE)
V1, V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"
PROGRAM = f"""#!{sys.executable}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
with open(here / "runs", "a") as runs:
    runs.write(json.dumps([sys.argv[1:], os.environ["KUBERNETES_EXEC_INFO"], os.environ.get("SETTING")]) + "\\n")
print((here / "answer").read_text())
if (here / "complaint").exists():
    sys.exit((here / "complaint").read_text())
"""


class Plugin:
    """A program, what it prints, and how it was run."""

    def __init__(self, directory) -> None:
        self.directory = directory
        (directory / "program").write_text(PROGRAM)
        (directory / "program").chmod(0o755)
        self.prints(token="first")

    def prints(self, version=V1, **status) -> None:
        self.prints_text(json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status}))

    def prints_text(self, text) -> None:
        (self.directory / "answer").write_text(text)

    def complains(self, text) -> None:
        (self.directory / "complaint").write_text(text)

    @property
    def runs(self) -> list:
        path = self.directory / "runs"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    monkeypatch.setattr(exec_plugin, "PAUSE", 0.0)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    return Plugin(tmp_path)


@pytest.fixture
def connect(plugin, tmp_path):
    """``connect(url, …)``: the fields of its ``exec``, and of the cluster."""

    def find(url="https://10.0.0.1", *, cluster=(), **fields):
        config = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [
                {"name": "c", "cluster": {"server": url, "certificate-authority-data": AUTHORITY, **dict(cluster)}},
            ],
            "users": [{"name": "u", "user": {"exec": {"command": "./program", "apiVersion": V1, **fields}}}],
        }
        (tmp_path / "config").write_text(json.dumps(config, indent=1))
        return find_connection(tmp_path / "config")

    return find


async def token_of(connection) -> str:
    return dict((await connection.credentials.identity()).headers)["Authorization"].removeprefix("Bearer ")


async def test_it_is_told_who_asks_and_asked_once(plugin, connect):
    connection = connect(
        args=["get-token", "--cluster", "c"],
        env=[{"name": "SETTING", "value": "value"}],
        interactiveMode="Never",
    )
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(token_of, connection)
    assert await token_of(connection) == "first"
    info = {"apiVersion": V1, "kind": "ExecCredential", "spec": {"interactive": False}}
    [[arguments, given, setting]] = plugin.runs
    assert (arguments, json.loads(given), setting) == (["get-token", "--cluster", "c"], info, "value")


async def test_it_is_told_of_the_cluster_if_it_wants_to_be(plugin, connect):
    given = {"audience": "a", "n": 5, "b": True, "l": [1.5]}
    extension = {"name": "client.authentication.k8s.io/exec", "extension": given}
    cluster = {"tls-server-name": "name", "extensions": [{"name": "other", "extension": {}}, extension]}
    plugin.prints(V1BETA1, token="first")
    connection = connect(provideClusterInfo=True, apiVersion=V1BETA1, cluster=cluster)
    assert await token_of(connection) == "first"
    spec = json.loads(plugin.runs[0][1])["spec"]
    assert spec["cluster"] == {
        "server": "https://10.0.0.1",
        "tls-server-name": "name",
        "certificate-authority-data": base64.b64encode(CERTIFICATE).decode(),
        "config": given,
    }


def test_what_it_is_told_may_not_be_a_part_of_itself(connect, tmp_path):
    extension = {"name": "client.authentication.k8s.io/exec", "extension": "alias"}
    with pytest.raises(BadInput):  # it only writes the file
        connect("ftp://no-server", provideClusterInfo=True, cluster={"extensions": [extension]})
    config = tmp_path / "config"
    config.write_text(config.read_text().replace("ftp://", "https://").replace('"alias"', "&whole {within: *whole}"))
    with pytest.raises(BadInput, match=rf"kubeconfig: {config}:\d+: .*extension: .* is a part of itself"):
        find_connection(config)


def test_one_that_is_found_in_the_path(plugin, connect, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="there is no program program"):
        connect(command="program")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    connect(command="program")


async def test_it_is_run_again_when_the_credentials_have_expired(plugin, connect):
    connection = connect()
    plugin.prints(token="first", expirationTimestamp="2015-10-21T07:28:00Z")
    assert await token_of(connection) == "first"
    plugin.prints(token="second", expirationTimestamp="2115-10-21T07:28:00Z")
    assert await token_of(connection) == "second"
    assert await token_of(connection) == "second"
    assert len(plugin.runs) == 2


async def test_hundreds_of_requests_do_not_run_it_hundreds_of_times(plugin, connect, monkeypatch):
    """Neither one whose credentials are always expired, nor one that fails."""
    monkeypatch.setattr(exec_plugin, "PAUSE", 3600.0)
    plugin.prints(token="first", expirationTimestamp="2015-10-21T07:28:00Z")
    connection = connect()
    for _ in range(100):
        assert await token_of(connection) == "first"
    assert len(plugin.runs) == 1
    plugin.complains("no")
    other = connect()
    for _ in range(100):
        with pytest.raises(CredentialsUnavailable, match="has ended with status 1: no"):
            await token_of(other)
    assert len(plugin.runs) == 2


async def test_it_is_run_again_when_the_server_does_not_know_them(plugin, connect):
    known = "Bearer first"

    async def check(exchange: Exchange) -> None:
        is_known = exchange.headers["authorization"] == known
        await (exchange.answer({}) if is_known else exchange.status(401, "Unauthorized"))

    async with scripted_server(check) as server, open_api_client(connect(server.url)) as api:
        await api.get("/x")
        plugin.prints(token="second")
        known = "Bearer second"
        await api.get("/x")
        assert (len(server.requests), len(plugin.runs)) == (3, 2)
        known = "Bearer third"  # which it does not have
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await api.get("/x")
        plugin.complains("who are you?")  # and no failure of its own hides that
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await api.get("/x")


async def test_certificates_are_shown_and_connections_with_another_one_end(plugin, connect):
    plugin.prints(clientCertificateData=CERTIFICATE.decode(), clientKeyData=KEY.decode())
    is_known = True

    async def check(exchange: Exchange) -> None:
        await (exchange.answer({}) if is_known else exchange.status(401, "Unauthorized"))

    async with scripted_server(check, client_certificate=True) as server:
        async with open_api_client(connect(server.url)) as api:
            await api.get("/x")
            await api.get("/x")
            assert len({id(one.stream) for one in server.requests}) == 1
            # The same certificate, with a comment, is another one for us.
            plugin.prints(clientCertificateData="#\n" + CERTIFICATE.decode(), clientKeyData=KEY.decode())
            is_known = False
            with pytest.raises(ApiError, match="401"):
                await api.get("/x")
            is_known = True
            await api.get("/x")
            assert len({id(one.stream) for one in server.requests}) == 2


@pytest.mark.parametrize(
    ("printed", "problem"),
    [
        ("token-secret", "has not printed an ExecCredential in JSON"),
        ("[]", "has not printed an ExecCredential in JSON"),
        ({"apiVersion": V1BETA1, "status": {"token": "token-secret"}}, "has printed another apiVersion"),
        ({"apiVersion": V1}, "has printed an ExecCredential without status"),
        ({"apiVersion": V1, "status": {}}, "has printed neither a token nor a certificate"),
        ({"apiVersion": V1, "status": {"token": "token-secret\n\nX"}}, "has characters that no token has"),
        (
            {"apiVersion": V1, "status": {"clientCertificateData": "token-secret"}},
            "a certificate or a key, and not both",
        ),
        (
            {"apiVersion": V1, "status": {"token": "t", "expirationTimestamp": "token-secret"}},
            "an expirationTimestamp that is no time",
        ),
        (
            {"apiVersion": V1, "status": {"token": "t", "expirationTimestamp": "2015-10-21T07:28:00"}},
            "an expirationTimestamp that is no time",
        ),
    ],
)
async def test_one_that_prints_something_else(printed, problem, plugin, connect, tmp_path):
    plugin.prints_text(printed if isinstance(printed, str) else json.dumps(printed))
    connection = connect()
    with pytest.raises(CredentialsUnavailable, match=problem) as caught:
        await token_of(connection)
    assert str(caught.value).startswith(f"no credentials for the API server: kubeconfig: {tmp_path}/config:")
    assert "users[0].user.exec: " in str(caught.value)
    assert "token-secret" not in str(caught.value)
    plugin.prints(token="now")
    assert await token_of(connection) == "now"


async def test_a_failure_is_quoted_without_what_it_was_given(plugin, connect):
    plugin.complains("no entry for\nhunter2")
    connection = connect(env=[{"name": "PASSWORD", "value": "hunter2"}])
    with pytest.raises(CredentialsUnavailable, match=r"program has ended with status 1: no entry for \[hidden\]"):
        await token_of(connection)
    assert "hunter2" not in repr(connection)


async def test_one_that_does_not_end(plugin, connect, monkeypatch):
    monkeypatch.setattr(exec_plugin, "PATIENCE", 0.2)
    connection = connect(command="sleep", args=["1000"])
    with pytest.raises(CredentialsUnavailable, match="sleep has not ended after 0.2 s"):
        await token_of(connection)


async def test_one_that_nobody_waits_for_any_more_is_run_for_the_next(plugin, connect, monkeypatch):
    """The first has had no answer, which is none for the others."""
    monkeypatch.setattr(exec_plugin, "PAUSE", 3600.0)
    connection = connect()
    with trio.CancelScope() as scope:
        scope.cancel()
        await token_of(connection)
    assert scope.cancelled_caught
    assert await token_of(connection) == "first"


@pytest.mark.parametrize("to", ["", ">&2"])
async def test_one_that_prints_without_end(to, plugin, connect):
    connection = connect(command="sh", args=["-c", f"exec yes {to}"])
    with pytest.raises(CredentialsUnavailable, match="sh has printed more than 1 MiB"):
        await token_of(connection)


async def test_one_that_has_to_ask_somebody(connect):
    with pytest.raises(BadInput, match="it has to ask somebody, and standard input is no terminal"):
        connect(interactiveMode="Always")


async def test_one_that_is_no_program(plugin, connect, tmp_path):
    (tmp_path / "text").write_text("x")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(CredentialsUnavailable, match="cannot be run: Exec format error"):
        await token_of(connect(command="./text"))
