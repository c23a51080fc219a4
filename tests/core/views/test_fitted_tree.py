"""The tree on a small terminal."""

from __future__ import annotations

import pytest

from devicemgr.core.views.fitted_tree import fitted_lines
from devicemgr.core.views.task_tree import TaskTree, TreeNode, tree_lines


def task(name, *children, nursery="", waits_for=""):
    return TreeNode(id=name, kind="task", name=name, nursery=nursery, waits_for=waits_for, children=children)


def nursery(name, *children):
    return TreeNode(id=f"nursery {name}", kind="nursery", name=name, children=children)


def shown(width=80, height=24):
    listeners = nursery("listeners", *[task(f"accept {n}", waits_for="a connection") for n in range(3)])
    admission = task("Admit default/p\x1b[2J", waits_for="Allocate of vendor.com/gpu, which takes long")
    handlers = nursery("handlers", admission, listeners)
    callers = [task(f"connection {n}", nursery("", task(f"writer {n}"))) for n in range(2)]
    root = task("run", nursery("connections", *callers, handlers))
    tree = TaskTree(at=5.0, time=5.0, root=root)
    assert len(tree_lines(tree)) == 12
    return fitted_lines(tree, now=5.0, width=width, height=height)


@pytest.mark.parametrize(
    ("height", "lines"),
    [
        (
            9,
            [
                "run",
                "└─ connections",
                "   ├─ connection 0",
                "   ├─ connection 1",
                "   └─ handlers",
                "      ├─ Admit default/p\\x1b[2J · waits for Allocate of vendor.com/gpu, which takes long",
                "      └─ listeners",
                "         └─ 3 tasks",
            ],
        ),
        (
            7,
            [
                "run",
                "└─ connections",
                "   ├─ 2 tasks",
                "   └─ handlers",
                "      ├─ Admit default/p\\x1b[2J · waits for Allocate of vendor.com/gpu, which takes long",
                "      └─ listeners",
                "         └─ 3 tasks",
            ],
        ),
    ],
)
def test_what_says_least_is_left_out_until_it_fits(height, lines):
    assert shown(width=100, height=height) == lines
    assert len(shown(width=100, height=12)) == 12
    assert len(shown(width=100, height=11)) == 10, "without the tasks of tasks"
    assert shown(width=100, height=1) == shown(width=100, height=7)


def test_a_long_line_goes_on_below_its_own_branch():
    found = shown(width=44, height=24)
    at = next(place for place, line in enumerate(found) if "Admit" in line)
    assert found[at : at + 3] == [
        "      ├─ Admit default/p\\x1b[2J · waits",
        "      │    for Allocate of vendor.com/gpu,",
        "      │    which takes long",
    ]
    assert max(map(len, found)) <= 44
    assert len(shown(width=10)) == 12, "too narrow to fold"
