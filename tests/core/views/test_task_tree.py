"""How a tree of tasks looks, and what of it changes when only time passes."""

from __future__ import annotations

from dataclasses import replace

from devicemgr.core.views.task_tree import (
    TaskTree,
    TreeNode,
    TreeScope,
    mermaid,
    tree_changes,
    tree_from_json,
    tree_lines,
)


def node(id, name, *children, kind="task", **values):
    return TreeNode(id=id, kind=kind, name=name, children=children, **values)


def tree(*children, at=10.0):
    return TaskTree(at=at, time=1000.0, root=node("0", "run", *children))


def lines(*children, **options):
    return tree_lines(tree(*children), **options)[1:]


def test_a_nursery_holds_its_tasks_and_the_nurseries_that_end_before_it():
    inner = node("4", "handlers", node("5", "Admit a/b"), kind="nursery")
    outer = node("1", "connections", node("2", "one"), node("3", "two"), inner, kind="nursery")
    assert lines(outer) == [
        "└─ connections",
        "   ├─ one",
        "   ├─ two",
        "   └─ handlers",
        "      └─ Admit a/b",
    ]
    assert tree(outer).nurseries == ("connections", "handlers")


def test_a_nursery_without_a_name_is_not_shown_but_its_tasks_are():
    inner = node("2", "", node("3", "writer"), node("4", "other"), kind="nursery")
    assert lines(node("1", "connection", inner), node("5", "last")) == [
        "├─ connection",
        "│  ├─ writer",
        "│  └─ other",
        "└─ last",
    ]


def test_what_is_known_of_times_is_shown():
    waiting = {"waits_for": "a list"}
    assert lines(
        node("1", "a", **waiting),
        node("2", "b", **waiting, since=8.5),
        node("3", "c", **waiting, since=8.5, deadline=18.5),
        node("4", "d", **waiting, deadline=12.0),
        node("5", "e", deadline=12.0, kind="nursery", cancelled=True),
        node("6", "f", state="serving", **waiting),
    ) == [
        "├─ a · waits for a list",
        "├─ b · waits for a list, 1.5 s",
        "├─ c · waits for a list, 1.5 s of 10 s",
        "├─ d · waits for a list, for 2.0 s more",
        "├─ e · cancelled · ends within 2.0 s",
        "└─ f · serving · waits for a list",
    ]


def test_shown_later_ages_are_higher_and_never_negative():
    late = lines(node("1", "a", waits_for="x", since=8.5), node("2", "b", waits_for="x", deadline=12.0), now=13.0)
    assert late == ["├─ a · waits for x, 4.5 s", "└─ b · waits for x, for 0.0 s more"]
    assert lines(node("1", "a", waits_for="x", since=10.5)) == ["└─ a · waits for x, 0.0 s"]


def test_the_shape_is_the_same_when_only_time_has_passed():
    scope = TreeScope(deadline=12.0, cancelled=False, shield=False)
    child = node("1", "a", since=8.5, deadline=12.0, scopes=(scope,))
    later = replace(child, since=9.0, deadline=13.0, scopes=(replace(scope, deadline=13.0),))
    assert tree(child).shape == tree(later, at=11.0).shape
    assert tree(child).shape != tree(replace(child, waits_for="x")).shape
    assert tree(child).shape != tree(replace(child, scopes=(replace(scope, cancelled=True),))).shape


def test_what_has_changed_between_two_trees():
    def with_tasks(*tasks):
        return tree(node("1", "readers", *tasks, kind="nursery"))

    inside = node("9", "", node("8", "writer"), kind="nursery")
    one, two = (node(id, f"gpu #{id}", nursery="readers", state="serving", waits_for="x", since=8.0) for id in "23")
    stopped = replace(one, state="stopped", waits_for="y")
    assert tree_changes(with_tasks(one), with_tasks(replace(one, since=9.0, children=(inside,)))) == []
    assert tree_changes(with_tasks(one), with_tasks(one, two)) == ["+ readers: gpu #3 · serving · waits for x"]
    assert tree_changes(with_tasks(one, two), with_tasks(stopped)) == [
        "- readers: gpu #3",
        "~ readers: gpu #2 is stopped, and was serving",
    ]
    assert tree_changes(with_tasks(one), with_tasks(one, two), without={"readers"}) == []


def test_plain_data_and_back():
    scope = TreeScope(deadline=None, cancelled=True, shield=True)
    one = tree(node("1", "n", node("2", "t", scopes=(scope,), since=1.5), kind="nursery"))
    assert tree_from_json(one.as_json()) == one
    assert one.as_json()["root"]["children"][0]["children"][0]["scopes"] == (
        {"deadline": None, "cancelled": True, "shield": True},
    )


def test_a_diagram_has_a_box_for_whatever_holds_something():
    inner = node("3", "", node("4", "writer"), kind="nursery")
    outer = node("1", "readers", node("2", "v.com/gpu #1", inner, state="serving"), kind="nursery")
    assert mermaid(tree(outer)) == (
        "flowchart TB\n"
        '    subgraph n0["run"]\n'
        '        subgraph n1["readers"]\n'
        '            subgraph n2["v.com/gpu #35;1 · serving"]\n'
        '                n4["writer"]\n'
        "            end\n"
        "        end\n"
        "    end\n"
    )


def test_what_others_have_named_is_no_markup_in_a_diagram():
    (_, label, _) = mermaid(tree(node("1", '"]<img onerror=x>&`\n'))).partition('n1["')[2].partition('"]')
    assert label == '"]'
    assert "#34;#93;#60;img onerror#61;x#62;#38;#96;#10;" in mermaid(tree(node("1", '"]<img onerror=x>&`\n')))
