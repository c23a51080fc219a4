"""Several kubeconfigs are read as one."""

from __future__ import annotations

import json

import pytest

from devicemgr.errors import BadInput
from devicemgr.input.kubeconfig import HIDDEN, Kubeconfig


@pytest.fixture
def write(tmp_path):
    def make(name, **top):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(top, indent=1))
        return path

    return make


def named(kind, **entries):
    return {f"{kind}s": [{"name": name, kind: entry} for name, entry in entries.items()]}


def test_of_two_of_one_name_the_first_counts_as_a_whole(write):
    one = write(
        "a/one",
        **named("cluster", c={"server": "https://one"}),
        **named("user", u={"tokenFile": "t"}),
        **{"current-context": "x"},
    )
    two = write(
        "b/two",
        **named("cluster", c={"server": "https://two", "proxy-url": "http://p"}, d={"server": "https://d"}),
        **named("context", x={"cluster": "c", "user": "u", "namespace": "n"}, y={"cluster": "d"}),
        **{"current-context": "y"},
    )
    (one.parent / "t").write_text("a token")
    found = Kubeconfig(one, two)
    assert found.cluster().text("server") == "https://one"
    assert found.cluster().text("proxy-url") == ""
    assert found.user().contents("tokenFile") == b"a token"  # beside its own file
    assert found.namespace == "n"
    other = Kubeconfig(two, one)
    assert (other.cluster().text("server"), other.namespace) == ("https://d", "default")
    assert Kubeconfig(one, two, context="y").cluster().text("server") == "https://d"
    assert found.without_secrets("it is a token") == f"it is {HIDDEN}"


def test_one_of_several_may_be_empty(write, tmp_path):
    (empty := tmp_path / "empty").write_text("")
    full = write("full", **named("context", x={"namespace": "n"}), **{"current-context": "x"})
    assert Kubeconfig(empty, full).namespace == "n"
    with pytest.raises(BadInput, match=r"empty, .*empty has no current-context"):
        Kubeconfig(empty, empty)


def test_a_context_that_is_asked_for(write):
    path = write("config", **named("context", x={"cluster": "gone"}), **{"current-context": "x"})
    with pytest.raises(BadInput, match=r"no context staging in .*config: kubectl config get-contexts lists those"):
        Kubeconfig(path, context="staging")
    with pytest.raises(BadInput, match="there is no cluster of that name in any of the files"):
        Kubeconfig(path, path, context="x").cluster()


def test_what_a_program_is_given_may_be_a_secret(write):
    exec_ = {"command": "x", "env": [{"name": "PASSWORD", "value": "hunter2"}]}
    path = write("config", **named("context", x={}), **named("user", u={"exec": exec_}), **{"current-context": "x"})
    assert Kubeconfig(path).without_secrets("hunter2, PASSWORD") == f"{HIDDEN}, PASSWORD"
