"""What is read from a kubeconfig, and that its secrets are never shown."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile

import pytest

from devicemgr.errors import BadInput
from devicemgr.input.kubeconfig import HIDDEN, Kubeconfig
from devicemgr.testing.check_options import CheckOptions
from devicemgr.testing.conformance import Command
from devicemgr.testing.conformance.subject.interface import open_subject
from devicemgr.testing.conformance.subject.isolation import isolated
from devicemgr.testing.conformance.subject.service_account import InCluster, in_cluster

TOKEN = "eyJhbGciOiJSUzI1NiJ9.secret"
CLUSTER = {"server": "https://10.0.0.1:6443"}
USER = {"token": TOKEN}
ALLOWED = subprocess.run(isolated(["true"], []), capture_output=True)
needs_namespaces = pytest.mark.skipif(ALLOWED.returncode != 0, reason=f"not allowed here: {ALLOWED.stderr.decode()}")


@pytest.fixture
def write(tmp_path):
    """``write(cluster, user, …)`` is the path of a kubeconfig: JSON, which is YAML too."""

    def make(cluster=CLUSTER, user=USER, context=None, **top):
        context = {"cluster": "c", "user": "u"} if context is None else context
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "other", "context": {}}, {"name": "it", "context": context}],
            "clusters": [{"name": "other", "cluster": {}}, {"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
        }
        path = tmp_path / "config"
        path.write_text(json.dumps(config | top, indent=1))
        return path

    return make


def test_a_pod_has_what_the_current_context_says(write):
    authority = base64.encodebytes(b"-----BEGIN CERTIFICATE-----" * 9).decode()  # with line ends, as some write it
    path = write(CLUSTER | {"certificate-authority-data": authority}, context={"cluster": "c", "user": "u"})
    found = in_cluster(Kubeconfig(path))
    assert found == InCluster("10.0.0.1", 6443, TOKEN, b"-----BEGIN CERTIFICATE-----" * 9, "default")
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        ("https://10.0.0.1", "10.0.0.1", 443),
        ("https://[fd00::1]:6443/", "fd00::1", 6443),
        ("https://api.example.com:443", "api.example.com", 443),
    ],
)
def test_the_address_of_the_server(write, server, host, port):
    found = in_cluster(Kubeconfig(write({"server": server})))
    assert (found.host, found.port) == (host, port)


def test_files_that_it_names_are_looked_for_where_it_is(write, tmp_path):
    """And the file with a token counts more than a token, as for client-go."""
    (tmp_path / "ca.pem").write_bytes(b"certificates")
    (tmp_path / "token").write_text("of the file\n")
    path = write(CLUSTER | {"certificate-authority": "ca.pem"}, USER | {"tokenFile": "token"})
    found = in_cluster(Kubeconfig(path))
    assert (found.token, found.authority) == ("of the file", b"certificates")


def test_the_namespace_is_that_of_the_context(write):
    path = write(context={"cluster": "c", "user": "u", "namespace": "kube-system"})
    assert in_cluster(Kubeconfig(path)).namespace == "kube-system"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"current-context": ""}, "has no current-context: kubectl config use-context NAME sets it"),
        ({"current-context": "gone"}, "current-context: there is no context of that name in this file"),
        ({"contexts": []}, "there is no context of that name"),
        ({"contexts": {"it": {}}}, "contexts: must be a list"),
        ({"current-context": ["it"]}, "current-context: must be a single value"),
    ],
)
def test_one_that_cannot_be_used_at_all(write, given, problem):
    path = write(**given)
    with pytest.raises(BadInput, match=problem) as caught:
        Kubeconfig(path)
    assert str(caught.value).startswith(f"kubeconfig: {path}:"), "the option, the file and the line"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"cluster": {}}, "that cluster has no server"),
        ({"cluster": {"server": "http://10.0.0.1:8080"}}, "must be https://HOST:PORT"),
        ({"cluster": {"server": "https://rancher/k8s/clusters/c-1"}}, "must be https://HOST:PORT"),
        ({"cluster": {"server": f"https://me:{TOKEN}@x:port"}}, "must be https://HOST:PORT"),
        ({"cluster": CLUSTER | {"insecure-skip-tls-verify": True}}, "a pod cannot be given that"),
        ({"cluster": CLUSTER | {"proxy-url": f"http://me:{TOKEN}@proxy"}}, "a pod cannot be given that"),
        ({"cluster": CLUSTER | {"certificate-authority-data": "?" + TOKEN}}, "authority-data: is not base64"),
        ({"cluster": CLUSTER | {"certificate-authority": "gone.pem"}}, "cannot be read: No such file"),
        ({"user": {"client-certificate-data": "eA==", "client-key-data": TOKEN}}, "has client-certificate-data and no"),
        ({"user": {"exec": {"command": "aws"}}}, "has exec and no token.*kubectl create token NAME makes one"),
        ({"user": {}}, "has no token"),
        ({"user": TOKEN}, "user: must be a mapping"),
        ({"user": {"token": {"a": TOKEN}}}, "token: must be a single value"),
        ({"user": {"tokenFile": "gone"}}, "tokenFile: that file cannot be read: No such file"),
        ({"context": {"cluster": "c"}}, "the context names no user"),
        ({"context": {"cluster": "c", "user": TOKEN}}, "user: there is no user of that name in this file"),
        ({"context": {"cluster": "gone", "user": "u"}}, "cluster: there is no cluster of that name in this file"),
    ],
)
def test_one_that_a_pod_cannot_have(write, given, problem):
    """It still names an API server for whoever reads the file; and no error quotes it."""
    path = write(**given)
    assert Command(["true"], kubeconfig=str(path)).has_api_server
    with pytest.raises(BadInput, match=problem) as caught:
        CheckOptions(kubeconfig=str(path), isolate=True)
    assert str(caught.value).startswith(f"kubeconfig: {path}:")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must have one document, not 0"),
        ("a: 1\n---\nb: 2\n", "must have one document, not 2"),
        ("just a text", "must be a mapping"),
        (f"users:\n  token: *{TOKEN.replace('.', '')}\n", ":2: this is not valid YAML$"),
        (f"token: {TOKEN}\n  more: [", ":2: this is not valid YAML$"),
        (b"\xff\xfe\xfd", "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_kubeconfig(tmp_path, text, problem):
    path = tmp_path / "config"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=problem) as caught:
        Kubeconfig(path)
    assert "secret" not in str(caught.value)
    assert "eyJ" not in str(caught.value)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(BadInput, match=f"kubeconfig: there is no {tmp_path}/gone"):
        CheckOptions(kubeconfig=str(tmp_path / "gone"))
    with pytest.raises(BadInput, match=f"kubeconfig: {tmp_path} is not a file"):
        CheckOptions(kubeconfig=str(tmp_path))


def test_one_in_the_home_directory(write, monkeypatch):
    """No shell reads the file in which the option may stand."""
    path = write()
    monkeypatch.setenv("HOME", str(path.parent))
    assert Kubeconfig("~/config").paths == [path]


def test_a_file_that_the_plugin_could_not_see(write):
    path = write()
    bind = f"/dev:{path.parent.parent}"
    with pytest.raises(BadInput, match=f"the plug-in cannot see {path}: it has another .*Copy the file elsewhere"):
        CheckOptions(kubeconfig=str(path), bind=(bind,))


def test_secrets_are_hidden_in_whatever_the_plugin_writes(write, tmp_path):
    """Those of every user; and what only begins like another one whole."""
    (tmp_path / "token").write_text("from a file\n")
    users = [
        {"name": "u", "user": {"token": TOKEN}},
        {"name": "other", "user": {"token": f"{TOKEN}-longer", "password": "pass", "username": "me"}},
        {"name": "third", "user": {"tokenFile": "token", "auth-provider": {"config": {"id-token": "of a provider"}}}},
        {"name": "fourth", "user": {"tokenFile": "gone", "client-key-data": "a2V5"}},
    ]
    config = Kubeconfig(write(users=users))
    wrote = f"me: {TOKEN}-longer, {TOKEN}, pass, a2V5, from a file, of a provider"
    assert config.without_secrets(wrote) == f"me: {', '.join([HIDDEN] * 6)}"


@needs_namespaces
async def test_the_files_of_the_service_account_are_there_as_long_as_the_plugin(write, root_dir, tmp_path, monkeypatch):
    """Also when it is started again; and none is made for one that never starts."""
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    command = Command(["sleep", "60"], kubeconfig=str(write()), isolate=True)
    (root_dir / "device-plugins").mkdir()
    assert list(scratch.iterdir()) == []
    async with open_subject(command):
        for _ in range(2):
            await command.start(root_dir / "device-plugins")
            assert sorted(path.name for path in scratch.glob("*/serviceaccount/*")) == ["namespace", "token"]
            await command.kill()
    assert list(scratch.iterdir()) == []
