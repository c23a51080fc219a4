"""What a reader of the page gets: everything at first, then differences, and of what it misses the latest only."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count, pairwise

import pytest
import trio

from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.views.overview import overview
from devicemgr.core.views.task_tree import TaskTree, TreeNode
from devicemgr.daemon.event_log import EventLog
from devicemgr.daemon.page import feed
from devicemgr.daemon.page.feed import MAX_EVENTS, TASKS_SHARE, Feed
from devicemgr.events import DeviceHealthChanged, DevicesAllocated, ManagerStopping, PodRemoved
from devicemgr.model import Device, Owner
from tests.helpers import GPU, NIC, apply_list, pod


class Watched:
    """A state, its log, and the feed of both."""

    def __init__(self):
        self.store, self.noted, self.looks = DeviceStore(), 0, 0
        self.log = EventLog([self._note])
        self.tree = TaskTree(at=5.0, time=1005.0, root=TreeNode(id="1", kind="task", name="run"))
        self.feed = Feed(self._look, lambda: self.tree, self.log, lambda: self.noted)

    def _note(self, recorded):
        self.noted += 1

    def _look(self):
        self.looks += 1
        return overview(self.store)

    def serve(self, resource, *ids):
        self.log.record(self.store.connect(Endpoint(resource=resource, generation=1, socket="a.sock")))
        self.list(resource, *ids)

    def list(self, resource, *ids):
        self.log.record(apply_list(self.store, resource, 1, [Device(id=id) for id in ids]))


@pytest.fixture
async def watched(nursery):
    made = Watched()
    nursery.start_soon(made.feed.keep)
    return made


async def message(reader):
    with trio.fail_after(5):
        return json.loads("".join(await reader.next()))


async def test_the_first_message_is_complete_and_the_next_one_has_what_changed(watched, autojump_clock):
    watched.serve(GPU, "g0", "g1")
    watched.serve(NIC, "n0")
    with watched.feed.reading() as reader:
        first = await message(reader)
        assert first["first"] is True
        assert first["parts"]["resources"] == [GPU, NIC]
        assert first["parts"][f"devices {GPU}"] == [[None, ["g0", "g1"]]]
        assert first["parts"][f"states {GPU}"] == "ff"
        assert [event["event"] for event in first["events"]] == ["PluginRegistered", "DeviceListApplied"] * 2
        watched.log.record(apply_list(watched.store, GPU, 1, [Device(id="g0", health="Unhealthy"), Device(id="g1")]))
        second = await message(reader)
    assert second["first"] is False
    assert second["parts"].keys() == {f"resource {GPU}", f"states {GPU}"}
    assert second["parts"][f"states {GPU}"] == "uf"
    assert [event["event"] for event in second["events"]] == ["DeviceListApplied"]


async def test_a_slow_reader_gets_the_latest_state_and_nothing_is_kept_for_it(watched, autojump_clock):
    with watched.feed.reading() as slow, watched.feed.reading() as quick:
        await message(slow)
        await message(quick)
        for number in range(1, 6):
            watched.serve(GPU, *(f"g{i}" for i in range(number)))
            assert (await message(quick))["parts"][f"states {GPU}"] == "f" * number
        assert (await message(slow))["parts"][f"states {GPU}"] == "fffff"
        with trio.move_on_after(60) as scope:
            await slow.next()
        assert scope.cancelled_caught


async def test_readers_that_have_stopped_keep_no_more_than_is_allowed(watched, autojump_clock, nursery, monkeypatch):
    """Each of them in the middle of another long list."""
    monkeypatch.setattr(feed, "MOST_REPLACED", 300_000)
    held = {}

    async def stop(number, task_status):
        with watched.feed.reading() as reader:
            held[number] = await reader.next()
            task_status.started()
            await trio.sleep_forever()
        del held[number]  # it was let go

    for number in range(32):
        watched.serve(GPU, *(f"{number}-{device}-{'x' * 100}" for device in range(1000)))
        await nursery.start(stop, number)
    texts = {id(text): len(text) for pieces in held.values() for text in pieces}
    assert sum(texts.values()) < 300_000 + 2 * 130_000, "and what one look has replaced, and the latest"
    assert 31 in held
    assert 0 not in held


async def test_what_is_gone_is_named(watched, autojump_clock):
    watched.serve(GPU, "g0")
    watched.store.reserve(Owner("a", "main"), GPU, ["g0"])
    watched.store.add_pod(pod("a"))
    with watched.feed.reading() as reader:
        assert (await message(reader))["parts"]["pods"] == ["a"]
        watched.store.remove_pod("a")
        watched.log.record([ManagerStopping()])
        after = await message(reader)
    assert after["gone"] == ["pod a"]
    assert after["parts"]["pods"] == []


async def test_nobody_looks_when_nobody_reads(watched, autojump_clock):
    watched.serve(GPU, "g0")
    await trio.sleep(60)
    assert watched.looks == 0
    with watched.feed.reading() as reader:
        await message(reader)
    looks = watched.looks
    watched.serve(NIC, "n0")
    await trio.sleep(60)
    assert watched.looks == looks
    with watched.feed.reading() as late:  # it does not get what somebody else has seen long ago
        assert (await message(late))["parts"]["resources"] == [GPU, NIC]


async def test_who_comes_when_nobody_reads_gets_the_tasks_of_now(watched, autojump_clock):
    with watched.feed.reading() as reader:
        await message(reader)
    await trio.sleep(60)
    watched.tree = replace(watched.tree, root=replace(watched.tree.root, name="later"))
    with watched.feed.reading() as late:
        assert (await message(late))["parts"]["tasks"]["name"] == "later"


async def test_there_are_ten_looks_a_second_however_much_happens(watched, autojump_clock):
    with watched.feed.reading():
        for _ in range(1000):
            watched.log.record([ManagerStopping()])
            await trio.sleep(0.001)
    assert 9 <= watched.looks <= 11


async def test_of_very_many_events_the_newest_are_sent(watched, autojump_clock):
    with watched.feed.reading() as reader:
        await message(reader)
        watched.log.record([ManagerStopping() for _ in range(900)])
        events = (await message(reader))["events"]
    assert [event["sequence"] for event in events] == [*range(901 - MAX_EVENTS, 901)]


async def test_an_event_is_told_in_short(watched, autojump_clock):
    """It may name every device of a pod, with ids of any length, and a browser keeps a thousand events."""
    ids = tuple(f"{number:05}{'x' * 10_000}" for number in range(1000))
    with watched.feed.reading() as reader:
        await message(reader)
        watched.log.record([DevicesAllocated(pod_uid="u", container="c" * 9000, resource=GPU, devices=ids)])
        watched.log.record([PodRemoved(namespace="d", name="p", uid="u", freed={GPU: ids})])
        allocated, removed = (await message(reader))["events"]
    assert len(json.dumps([allocated, removed])) < 10_000
    assert allocated["devices"][0].startswith("00000xxx")
    assert allocated["devices"][-1] == "… 992 more"
    assert removed["freed"][GPU] == allocated["devices"]
    assert allocated["said"][0]["text"].endswith("gets 1,000 devices [vendor.com/gpu]")


async def test_events_of_a_pod_whose_admission_nobody_was_told_of_have_its_name(watched, autojump_clock):
    """An earlier run admitted it, or the log has lost that."""
    watched.store.add_pod(pod("training"))
    changed = DeviceHealthChanged(pod_uid="training", container="main", resource=GPU, device="g0", health="Healthy")
    with watched.feed.reading() as reader:
        watched.log.record([changed])
        (event,) = (await message(reader))["events"]
        assert event["said"][0]["text"].startswith("g0 of container main of pod default/training is Healthy")
        watched.store.add_pod(pod("later"))
        watched.log.record([replace(changed, pod_uid="later")])
        (event,) = (await message(reader))["events"]
    assert event["said"][0]["text"].startswith("g0 of container main of pod default/later is Healthy")


async def test_a_pod_keeps_its_number_and_a_new_one_gets_the_lowest_that_is_free(watched, autojump_clock):
    def numbers():
        members = [json.loads(f"{{{watched.feed.parts[f'pod {uid}']}}}") for uid in watched.pods]
        return {uid: pod["number"] for one in members for pod in one.values() for uid in [pod["uid"]]}

    with watched.feed.reading() as reader:
        await message(reader)
        for uids in (["a", "b", "c"], ["b", "c"], ["b", "c", "d", "e"]):
            watched.pods = uids
            for one in watched.store.pods:
                if one.uid not in uids:
                    watched.store.remove_pod(one.uid)
            for uid in uids:
                watched.store.add_pod(pod(uid))
            watched.log.record([ManagerStopping()])
            await message(reader)
    assert numbers() == {"b": 1, "c": 2, "d": 0, "e": 3}


async def test_the_tasks_are_looked_at_without_an_event_but_sent_only_if_they_have_changed(watched, autojump_clock):
    with watched.feed.reading() as reader:
        assert (await message(reader))["parts"]["tasks"]["name"] == "run"
        child = TreeNode(id="2", kind="task", name="child", waits_for="a list", since=3.0)
        watched.tree = TaskTree(at=6.0, time=1006.0, root=replace(watched.tree.root, children=(child,)))
        (tasks,) = (await message(reader))["parts"].values()
        assert [(one["name"], one["waits_for"], one["since"]) for one in tasks["children"]] == [
            ("child", "a list", 1003.0)
        ]
        watched.tree = replace(watched.tree, at=16.0, time=1016.0)
        with trio.move_on_after(60) as scope:
            await reader.next()
        assert scope.cancelled_caught
    assert watched.looks == 1


async def test_tasks_that_are_very_many_are_looked_at_less_often(autojump_clock, monkeypatch, nursery):
    looks = []
    watched = Watched()
    tree = watched.tree
    watched.feed = Feed(watched._look, lambda: looks.append(trio.current_time()) or tree, watched.log, lambda: 0)
    seconds = count(0)
    monkeypatch.setattr("devicemgr.daemon.page.feed.thread_time", lambda: next(seconds))
    nursery.start_soon(watched.feed.keep)
    with watched.feed.reading():
        await trio.sleep(1000)
    assert all(later - earlier >= 1 / TASKS_SHARE for earlier, later in pairwise(looks))
    assert len(looks) > 5
