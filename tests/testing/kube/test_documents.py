"""Dictionaries, YAML texts and files → objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from devicemgr.errors import BadInput
from devicemgr.testing.kube.documents import objects_of

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}


def test_a_dictionary_is_one_object_and_a_pod_need_not_say_of_which_version():
    assert objects_of({"kind": "Pod", "metadata": {"name": "one"}}) == [POD]
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "two"}}
    assert objects_of(deployment) == [deployment]


def test_a_text_may_have_several_and_values_are_those_of_kubernetes():
    text = """\
kind: Pod
metadata: {name: one, annotations: {since: 2026-11-27}}
---
---
kind: List
items:
- {kind: Pod, metadata: {name: two}, spec: {priority: 3, hostNetwork: yes, nodeName: null}}
"""
    first, second = objects_of(text)
    assert first["metadata"]["annotations"] == {"since": "2026-11-27"}
    assert second["spec"] == {"priority": 3, "hostNetwork": True}  # a null is as if it were not there


def test_a_file_is_named_by_its_path_or_by_a_text_of_one_line(tmp_path):
    file = tmp_path / "pod.yaml"
    file.write_text("kind: Pod\nmetadata: {name: one}\n")
    assert objects_of(file) == objects_of(str(file)) == [POD]


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("kind: Pod\nmetadata: {}\n", "the text: metadata.name: must have a name"),
        ("- one\n- two\n", "the text: must be an object of Kubernetes, with a kind"),
        ("kind: Pod\n metadata: {}\n", "the text:2: this is not valid YAML"),
        ("# nothing\n---\n", "the text: there is no object in it"),
        ({"metadata": {"name": "one"}}, "the dictionary: must be an object of Kubernetes, with a kind"),
        (Path("/no/such/file"), "/no/such/file: it cannot be read: No such file or directory"),
        ("no-such-file.yaml", "no-such-file.yaml: it cannot be read: No such file or directory"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(what, problem):
    with pytest.raises(BadInput) as raised:
        objects_of(what)
    assert str(raised.value).startswith(problem)


def test_a_value_that_is_a_part_of_itself():
    with pytest.raises(BadInput, match="is nested too deeply, or is a part of itself"):
        objects_of("kind: Pod\nmetadata: &whole {name: one, within: *whole}\n")
