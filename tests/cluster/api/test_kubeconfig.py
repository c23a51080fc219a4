"""Which API server is spoken to, and as whom: found as kubectl finds it."""

from __future__ import annotations

import base64
import json
import os
import re

import pytest
import trio

from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.api.connection import Connection
from devicemgr.cluster.api.credentials import REREAD
from devicemgr.cluster.api.kubeconfig import find_connection
from devicemgr.errors import ApiError, ApiUnreachable, ApiUntrusted, BadInput

from .scripted_server import CERTIFICATE, KEY, Exchange, scripted_server

PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy")
SECRET = "a-token-that-nobody-may-see"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


TRUSTED = {"certificate-authority-data": encoded(CERTIFICATE)}


@pytest.fixture(autouse=True)
def nothing_of_the_machine(tmp_path, monkeypatch):
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", *PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def write(tmp_path):
    """``write(user, cluster)`` is the path of a kubeconfig."""

    def make(user=None, *, path=tmp_path / "config", context="it", namespace="n", **cluster):
        config = {
            "current-context": context,
            "contexts": [{"name": context, "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443", **cluster}}],
            "users": [{"name": "u", "user": {"token": SECRET} if user is None else user}],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config, indent=1))
        return path

    return make


async def headers_of(connection: Connection) -> dict[str, str]:
    return dict((await connection.credentials.identity()).headers)


def test_the_file_is_found_where_kubectl_finds_it(write, tmp_path, monkeypatch):
    """The option, the variable, the home directory, the pod."""
    account = tmp_path / "account"
    account.mkdir()
    for name, content in {"token": SECRET, "namespace": "of-the-pod", "ca.crt": CERTIFICATE.decode()}.items():
        (account / name).write_text(content)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    pod = find_connection(service_account=account)
    assert (pod.server, pod.namespace, pod.authority) == ("https://[fd00::1]:443", "of-the-pod", CERTIFICATE)
    write(path=tmp_path / ".kube" / "config", namespace="of-the-home")
    assert find_connection(service_account=account).namespace == "of-the-home"
    one, two = (write(path=tmp_path / name, context=name, namespace=name) for name in ("one", "two"))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(["", str(tmp_path / "gone"), str(one), str(two), str(one)]))
    assert find_connection().namespace == "one"
    assert find_connection(context="two").namespace == "two"
    assert find_connection(write(path=tmp_path / "given", namespace="given")).namespace == "given"


def test_where_nobody_can_look_there_may_be_one(write, tmp_path, monkeypatch):
    """As in the home directory of root, for others. Only what is named counts: a pod may have that as its HOME."""
    nowhere = tmp_path / ("n" * 300) / "config"
    monkeypatch.setenv("KUBECONFIG", f"{nowhere}:{write()}")
    for given in (None, nowhere):
        with pytest.raises(BadInput, match=f"{nowhere} cannot be read: File name too long"):
            find_connection(given)
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(nowhere))
    with pytest.raises(BadInput, match="no API server"):
        find_connection()


def test_a_user_whom_nobody_knows_has_no_file(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(BadInput, match="no API server"):
        find_connection()


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        (None, "no API server: --kubeconfig names no file, KUBECONFIG is not set, there is no ~/.kube/config"),
        ("/gone:/gone-too", "KUBECONFIG names /gone, /gone-too: there is no such file"),
    ],
)
def test_there_is_none(variable, problem, monkeypatch):
    if variable:
        monkeypatch.setenv("KUBECONFIG", variable)
    with pytest.raises(BadInput, match=problem):
        find_connection()


@pytest.mark.parametrize(
    ("user", "headers"),
    [
        ({"token": SECRET}, {"Authorization": f"Bearer {SECRET}"}),
        ({"token": "other", "tokenFile": "token"}, {"Authorization": f"Bearer {SECRET}"}),
        ({"username": "me", "password": "pass"}, {"Authorization": f"Basic {encoded(b'me:pass')}"}),
        ({"token": SECRET, "as": "you", "as-groups": ["g"]}, {"Impersonate-User": "you", "Impersonate-Group": "g"}),
        (
            {"as": "you", "as-uid": "7", "as-user-extra": {"k": ["v"], "vendor.com/team %": ["w"]}},
            {"Impersonate-Uid": "7", "Impersonate-Extra-k": "v", "Impersonate-Extra-vendor.com%2Fteam%20%25": "w"},
        ),
        ({"token": SECRET, "auth-provider": {"name": "gcp"}}, {"Authorization": f"Bearer {SECRET}"}),
        ({}, {}),
    ],
    ids=str,
)
async def test_who_we_are(user, headers, write, tmp_path):
    (tmp_path / "token").write_text(f"{SECRET}\n")
    found = find_connection(write(user))
    assert headers.items() <= (await headers_of(found)).items()
    assert SECRET not in repr(found)
    assert SECRET not in repr(await found.credentials.identity())


async def test_credentials_are_not_sent_in_clear(write):
    assert await headers_of(find_connection(write(server="http://10.0.0.1:8080"))) == {}


@pytest.mark.parametrize(
    ("user", "cluster", "problem"),
    [
        ({}, {"server": ""}, "cluster: that cluster has no server"),
        ({}, {"server": "10.0.0.1:6443"}, "server: must be https://HOST:PORT"),
        ({}, {"server": f"https://me:{SECRET}@h"}, "server: must be https://HOST:PORT"),
        ({}, {"server": "https://h:port"}, "server: must be https://HOST:PORT"),
        ({}, {"server": "https://h:0"}, "server: must be https://HOST:PORT"),
        ({}, {"server": "https://one..two"}, "server: must be https://HOST:PORT"),
        ({}, {"server": f"https://{'h' * 64}.org"}, "server: must be https://HOST:PORT"),
        ({}, {"server": "https://exämple .org"}, "server: must be https://HOST:PORT"),
        ({}, {"tls-server-name": "exämple\n"}, "tls-server-name: must be the name of a host"),
        ({}, {"proxy-url": "http://one..two"}, "proxy-url: must be http://HOST:PORT"),
        ({"as": "you\nX: y"}, {}, "as: has characters that no header has"),
        ({}, {"certificate-authority": "gone"}, "certificate-authority: that file cannot be read: No such file"),
        ({}, {"certificate-authority-data": encoded(b"x")}, "authority-data: there is no certificate in it"),
        ({}, {"certificate-authority-data": "?"}, "authority-data: is not base64"),
        ({}, {"insecure-skip-tls-verify": "perhaps"}, "insecure-skip-tls-verify: must be true or false"),
        (
            {},
            {"insecure-skip-tls-verify": True, "certificate-authority-data": encoded(CERTIFICATE)},
            "either this, or a certificate-authority",
        ),
        ({}, {"proxy-url": f"ftp://{SECRET}"}, "proxy-url: must be http://HOST:PORT"),
        ({"token": f"{SECRET}\nX: y"}, {}, "token: has characters that no token has"),
        ({"tokenFile": "gone"}, {}, "tokenFile: that file cannot be read"),
        ({"tokenFile": "to\0ken"}, {}, "tokenFile: there is no file of that name"),
        ({"tokenFile": "empty"}, {}, "tokenFile: has no token in it"),
        ({"client-certificate-data": encoded(CERTIFICATE)}, {}, "has a client-certificate, and no client-key"),
        (
            {"client-certificate-data": encoded(CERTIFICATE), "client-key-data": encoded(b"x")},
            {},
            "client-certificate-data: it and its key cannot be used together",
        ),
        (
            {"auth-provider": {"name": "oidc"}},
            {},
            "auth-provider: an auth-provider is .* plug-in, such as kubectl-oidc",
        ),
        ({"auth-provider": {"name": "other"}}, {}, "use an exec plug-in, or a token"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, {}, "exec: it names no command"),
        (
            {"exec": {"command": "aws", "apiVersion": "client.authentication.k8s.io/v1alpha1"}},
            {},
            "apiVersion: must be one of client.authentication.k8s.io/v1, ",
        ),
        (
            {"exec": {"command": "a", "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "No"}},
            {},
            "interactiveMode: must be Never",
        ),
        (
            {
                "exec": {
                    "command": "no-such-program",
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "installHint": "get it\nfrom there\x1b[1m",
                }
            },
            {},
            r"command: there is no program no-such-program \(looked for in PATH\). It says: get it from there \[1m",
        ),
    ],
)
def test_one_that_cannot_be_used(user, cluster, problem, write, tmp_path):
    (tmp_path / "empty").write_text("\n")
    path = write(user, **cluster)
    with pytest.raises(BadInput, match=problem) as caught:
        find_connection(path)
    assert re.match(rf"kubeconfig: {path}:\d+: ", str(caught.value)), "the option, the file and the line"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("server", "variables", "proxy"),
    [
        ("https://10.0.0.1", {}, ""),
        ("https://10.0.0.1", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://10.0.0.1", {"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ("https://10.0.0.1", {"HTTP_PROXY": "http://proxy:3128"}, ""),
        ("http://10.0.0.1", {"HTTP_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://proxy:3128"}, ""),
        ("https://[::1]:6443", {"HTTPS_PROXY": "http://proxy:3128"}, ""),
        ("https://localhost:6443", {"HTTPS_PROXY": "http://proxy:3128"}, ""),
        ("https://localhost.example.com:6443", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
    ],
)
def test_the_proxy_of_the_environment(server, variables, proxy, write, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_connection(write(server=server)).proxy == proxy
    assert find_connection(write(**{"server": server, "proxy-url": "http://other"})).proxy == "http://other"


@pytest.mark.parametrize(
    ("server", "exempt", "without"),
    [
        ("https://10.0.0.1:6443", "10.0.0.1", "10.0.0.10"),
        ("https://10.0.0.1:6443", "a.org, 10.0.0.0/8", "11.0.0.0/8"),
        ("https://10.0.0.1:6443", "10.0.0.1:6443", "10.0.0.1:443"),
        ("https://10.0.0.1:6443", "*", ","),
        ("https://[2001:db8::1]:6443", "2001:db8::1", "2001:db8::2"),
        ("https://[2001:db8::1]:6443", "2001:db8::/32", "10.0.0.0/8"),
        ("https://[2001:db8::1]:6443", "[2001:db8::1]:6443", "[2001:db8::1]:443"),
        ("https://api.example.com", "EXAMPLE.com", "ple.com"),
        ("https://api.example.com", ".example.com", ".api.example.com"),
        ("https://api.example.com", "*.example.com:443", "example.com:6443"),
        ("https://api.example.com", "api.example.com", "[,10.0.0.0/8"),
    ],
)
def test_a_server_that_is_exempt_from_the_proxy(server, exempt, without, write, monkeypatch):
    """As Go reads NO_PROXY."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert find_connection(write(server=server)).proxy == ""
    monkeypatch.setenv("NO_PROXY", without)
    assert find_connection(write(server=server)).proxy == "http://proxy:3128"


@pytest.mark.parametrize("proxy", [f"http://me:{SECRET}@proxy:port", f"ftp://{SECRET}", "one..two"])
def test_a_variable_that_names_no_proxy(proxy, write, monkeypatch):
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(BadInput, match="https_proxy: must be http://HOST:PORT") as caught:
        find_connection(write())
    assert SECRET not in str(caught.value)


# --- with a server -------------------------------------------------------------------------------------


async def who(exchange: Exchange) -> None:
    await exchange.answer({"who": exchange.headers.get("authorization"), "path": exchange.path})


async def test_a_user_may_have_any_name(write):
    async def answer(exchange: Exchange) -> None:
        await exchange.answer({"user": exchange.headers["impersonate-user"]})

    async with scripted_server(answer) as server:
        config = write({"as": "Ünï"}, server=server.url, **TRUSTED)
        async with open_api_client(find_connection(config)) as api:
            assert (await api.get("/"))["user"] == "Ünï"


async def test_a_path_in_front_of_all_others(write):
    async with scripted_server(who) as server:
        path = write(server=f"{server.url}/k8s/clusters/c-1/", **TRUSTED)
        async with open_api_client(find_connection(path)) as api:
            assert (await api.get("/version"))["path"] == "/k8s/clusters/c-1/version"


async def test_a_certificate_is_shown_whether_it_is_inside_or_in_files(write, tmp_path):
    (tmp_path / "c.pem").write_bytes(CERTIFICATE)
    (tmp_path / "k.pem").write_bytes(KEY)
    inside = {"client-certificate-data": encoded(CERTIFICATE), "client-key-data": encoded(KEY)}
    files = {"client-certificate": "c.pem", "client-key": "k.pem"}
    async with scripted_server(who, client_certificate=True) as server:
        for user in (inside, files):
            path = write(user, server=server.url, **TRUSTED)
            async with open_api_client(find_connection(path)) as api:
                assert (await api.get("/x"))["who"] is None
        async with open_api_client(find_connection(write({}, server=server.url, **TRUSTED))) as api:
            with pytest.raises(ApiUnreachable):
                await api.get("/x")


async def test_a_certificate_whose_key_is_not_there_yet_is_not_shown(write, tmp_path, autojump_clock):
    """Somebody replaces both files, one after the other."""
    (tmp_path / "c.pem").write_bytes(CERTIFICATE)
    (tmp_path / "k.pem").write_bytes(KEY)
    async with scripted_server(who, client_certificate=True) as server:
        path = write({"client-certificate": "c.pem", "client-key": "k.pem"}, server=server.url, **TRUSTED)
        async with open_api_client(find_connection(path)) as api:
            await api.get("/x")
            (tmp_path / "k.pem").write_bytes(b"")
            await trio.sleep(REREAD)
            assert (await api.get("/x"))["who"] is None


@pytest.mark.parametrize(
    ("cluster", "problem"),
    [
        ({}, "self.signed certificate"),
        ({"insecure-skip-tls-verify": True}, None),
        (TRUSTED, None),
        ({**TRUSTED, "tls-server-name": "localhost"}, None),
        ({**TRUSTED, "tls-server-name": "other"}, "Hostname mismatch"),
    ],
    ids=["unknown", "insecure", "known", "by another name", "by a wrong name"],
)
async def test_whose_certificate_is_trusted(cluster, problem, write):
    async with scripted_server(who) as server:
        async with open_api_client(find_connection(write(server=server.url, **cluster))) as api:
            if problem is None:
                assert (await api.get("/x"))["who"] == f"Bearer {SECRET}"
                return
            with pytest.raises(ApiUntrusted, match=f"{server.url}: its certificate cannot be trusted: {problem}"):
                await api.get("/x")


async def test_a_token_that_is_replaced_is_read_again(write, tmp_path, autojump_clock):
    """After a while by itself, and at once when the server does not know the old one."""
    token = tmp_path / "token"
    token.write_text("first\n")
    known = "Bearer first"

    async def check(exchange: Exchange) -> None:
        is_known = exchange.headers["authorization"] == known
        await (exchange.answer({}) if is_known else exchange.status(401, "Unauthorized"))

    async with scripted_server(check) as server:
        path = write({"tokenFile": "token"}, server=server.url, **TRUSTED)
        async with open_api_client(find_connection(path)) as api:
            await api.get("/x")
            token.write_text("second\n")
            await api.get("/x")  # the one that is known is still used
            known = "Bearer second"
            await api.get("/x")
            assert [one.headers["authorization"] for one in server.requests][2:] == ["Bearer first", "Bearer second"]
            token.write_text("third\n")
            await trio.sleep(REREAD)
            known = "Bearer third"
            await api.get("/x")
            assert len(server.requests) == 5
            token.unlink()  # while it is written anew
            await trio.sleep(REREAD)
            await api.get("/x")
            known = "nobody"
            with pytest.raises(ApiError, match="401 Unauthorized"):
                await api.get("/x")
            assert len(server.requests) == 7
