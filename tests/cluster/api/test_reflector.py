"""A collection is seen as it is, whatever happens to the server that has it."""

from __future__ import annotations

import gc
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
import trio.testing

from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.api.reachability import Lost, Reached
from devicemgr.cluster.api.reflector import CHUNK, SHORTEST_WATCH, SILENCE, STEADY, Synced
from devicemgr.cluster.api.retries import LASTING, MAX_DELAY
from devicemgr.cluster.api.watch_events import Changed, Deleted
from devicemgr.errors import ApiError, ApiUnreachable

from .scripted_server import Exchange, played, scripted_server

PODS = "/api/v1/pods"
Step = Callable[[Exchange], Awaitable[None]]


def pod(name: str, version: int, **more: object) -> dict:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}, **more}


def a_list(*pods: dict, version: int = 10, rest: str = "") -> dict:
    metadata = {"resourceVersion": str(version), **({"continue": rest} if rest else {})}
    return {"kind": "PodList", "metadata": metadata, "items": list(pods)}


def answers(*pods: dict, **given) -> Step:
    return lambda exchange: exchange.answer(a_list(*pods, **given))


def says(code: int, reason: str = "", **headers: str) -> Step:
    return lambda exchange: exchange.status(code, reason, **headers)


def watches(*steps: Callable[[Exchange], Awaitable[None]], then: str = "hold") -> Step:
    """A watch with these events; then it stays open, ends, or is cut off."""

    async def run(exchange: Exchange) -> None:
        assert exchange.query["watch"] == "1"
        await exchange.begin()
        for step in steps:
            await step(exchange)
        if then == "hold":
            await trio.sleep_forever()
        await (exchange.end() if then == "end" else exchange.hang_up())

    return run


def event(kind: str, one: dict) -> Step:
    return lambda exchange: exchange.event(kind, one)


def raw(data: bytes) -> Step:
    return lambda exchange: exchange.bytes(data)


def pause(seconds: float) -> Step:
    async def sleep(exchange: Exchange) -> None:
        await trio.sleep(seconds)

    return sleep


@asynccontextmanager
async def reflecting(*steps: Step, **query: str):
    async with scripted_server(played(*steps)) as server, open_api_client(server.connection()) as api:
        async with api.reflect(PODS, **query) as changes:
            yield changes, server


async def next_of(changes) -> object:
    with trio.fail_after(10_000):
        return await changes.receive()


def names(synced: object) -> list[str]:
    assert isinstance(synced, Synced)
    return [one["metadata"]["name"] for one in synced.objects.values()]


def gaps(server, watch: bool | None = None) -> list[float]:
    """Seconds between two requests."""
    times = [one.at for one in server.requests if watch is None or ("watch" in one.query) is watch]
    return [later - earlier for earlier, later in pairwise(times)]


async def test_a_list_then_its_changes(autojump_clock):
    watch = watches(
        event("ADDED", pod("b", 11)), event("MODIFIED", pod("a", 12, spec=1)), event("DELETED", pod("b", 13))
    )
    async with reflecting(answers(pod("a", 9)), watch, fieldSelector="spec.nodeName=n") as (changes, server):
        assert names(await next_of(changes)) == ["a"]
        assert await next_of(changes) == Changed(pod("b", 11))
        assert await next_of(changes) == Changed(pod("a", 12, spec=1))
        assert await next_of(changes) == Deleted(pod("b", 13))
        list_query, watch_query = (one.query for one in server.requests)
    assert list_query == {"fieldSelector": "spec.nodeName=n", "limit": str(CHUNK)}
    assert {**watch_query, "timeoutSeconds": ""} == {
        "fieldSelector": "spec.nodeName=n",
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": "10",
        "timeoutSeconds": "",
    }
    assert SHORTEST_WATCH <= int(watch_query["timeoutSeconds"]) <= 1.5 * SHORTEST_WATCH


async def test_who_leaves_while_there_are_changes_leaves_nothing_to_the_garbage_collector(autojump_clock):
    """In a loop over a generator of httpcore2, which is closed only by what is raised inside of it."""
    watch = watches(*(event("ADDED", pod(f"p{version}", version)) for version in range(11, 15)))
    async with reflecting(answers(), watch) as (changes, _):
        assert names(await next_of(changes)) == []
        assert isinstance(await next_of(changes), Changed)
        await trio.testing.wait_all_tasks_blocked(0.01)
    gc.collect()


async def test_a_long_list_comes_in_chunks(autojump_clock):
    pages = [
        answers(*(pod(f"p{number}", 1) for number in range(first, first + CHUNK)), rest=f"after {first}")
        for first in range(0, 5000, CHUNK)
    ]
    async with reflecting(*pages, answers(pod("last", 1), version=77), watches()) as (changes, server):
        assert len(names(await next_of(changes))) == 5001
        await trio.testing.wait_all_tasks_blocked()
        assert [one.query.get("continue") for one in server.requests[:3]] == [None, "after 0", "after 500"]
        assert server.requests[-1].query["resourceVersion"] == "77"


async def test_a_list_whose_rest_has_expired_is_had_at_once(autojump_clock):
    steps = (answers(pod("a", 1), rest="more"), says(410, "Expired"), answers(pod("b", 2)), watches())
    async with reflecting(*steps) as (changes, server):
        assert names(await next_of(changes)) == ["b"]
        assert "limit" not in server.requests[2].query
        assert "continue" not in server.requests[2].query


async def test_a_watch_that_ends_goes_on_from_what_was_seen_and_nothing_is_said(autojump_clock):
    """Also from a bookmark; and at once, when it was not a short one."""
    first = watches(event("ADDED", pod("a", 11)), pause(200), then="end")
    second = watches(event("BOOKMARK", pod("", 19)), pause(200), then="end")
    third = watches(event("ADDED", pod("b", 20)))
    async with reflecting(answers(), first, second, third) as (changes, server):
        assert names(await next_of(changes)) == []
        assert await next_of(changes) == Changed(pod("a", 11))
        assert await next_of(changes) == Changed(pod("b", 20))
        assert [one.query["resourceVersion"] for one in server.requests[1:]] == ["10", "11", "19"]
        assert gaps(server, watch=True) == pytest.approx([200, 200], abs=0.1)


@pytest.mark.parametrize(
    "lost",
    [
        watches(event("ADDED", pod("a", 11)), pause(5), then="cut"),
        watches(event("ADDED", pod("a", 11)), pause(5), raw(b'{"type": "ADDED", "obj'), then="cut"),
        watches(event("ADDED", pod("a", 11)), pause(5), raw(b'{"type": "ADDED", "obj'), then="end"),
    ],
    ids=["between two events", "inside an event", "inside an event, as if that were well"],
)
async def test_a_watch_that_is_cut_off_goes_on_from_what_was_seen_and_nothing_is_said(lost, autojump_clock):
    async with reflecting(answers(), lost, watches(event("ADDED", pod("b", 12)))) as (changes, server):
        assert names(await next_of(changes)) == []
        assert await next_of(changes) == Changed(pod("a", 11))
        assert await next_of(changes) == Changed(pod("b", 12))
        assert server.requests[2].query["resourceVersion"] == "11"


@pytest.mark.parametrize(
    "expired",
    [
        says(410, "Expired"),
        watches(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})),
        watches(event("ERROR", {"kind": "Status", "code": 410, "reason": "Gone"}), then="cut"),
        watches(raw(b"<html>\n")),
        watches(raw(b'{"type": "ADDED", "object": {"metadata": {}}}\n')),
        watches(raw(b'{"type": "RENAMED", "object": {"metadata": {"resourceVersion": "12"}}}\n')),
        watches(raw(b'{"type": ["ADDED"], "object": {"metadata": {"resourceVersion": "12", "uid": "u"}}}\n')),
        watches(raw(b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "12"}}}\n')),
        watches(raw(b"[]\n")),
        watches(raw(b"[" * 100_000 + b"\n")),
    ],
    ids=[
        *("410", "an event", "an event, then cut", "no JSON", "no version", "no kind", "a list of kinds", "no uid"),
        *("no object", "nested too deeply"),
    ],
)
async def test_a_watch_that_cannot_say_what_has_changed_is_followed_by_a_list(expired, autojump_clock):
    await followed_by_a_list(expired)


async def test_a_watch_without_an_end_of_a_line_is_followed_by_a_list():
    """So much is under way in the kernel for some time, while no task has anything to do: no clock may jump then."""
    await followed_by_a_list(watches(*[raw(b"x" * 1024 * 1024)] * 17))


async def followed_by_a_list(watch: Step) -> None:
    async with reflecting(answers(pod("a", 9)), watch, answers(pod("b", 30), version=31), watches()) as (
        changes,
        server,
    ):
        assert names(await next_of(changes)) == ["a"]
        assert names(await next_of(changes)) == ["b"]
        await trio.testing.wait_all_tasks_blocked()
        assert server.requests[-1].query["resourceVersion"] == "31"


async def test_a_watch_that_falls_silent_is_given_up_when_it_should_have_ended(autojump_clock):
    """A connection that is open at our end only: nobody will ever end it."""
    async with reflecting(answers(), watches(), watches(event("ADDED", pod("a", 11)))) as (changes, server):
        assert names(await next_of(changes)) == []
        assert await next_of(changes) == Changed(pod("a", 11))
        asked = int(server.requests[1].query["timeoutSeconds"])
        assert gaps(server, watch=True) == [pytest.approx(asked + SILENCE, abs=2)]


async def test_a_server_that_ends_each_watch_at_once_is_asked_less_and_less_often(autojump_clock):
    """And that is said once, as is that it has stopped."""
    ends, holds = watches(then="end"), watches(event("ADDED", pod("a", 11)))
    async with reflecting(answers(), *[ends] * 12, holds) as (changes, server):
        assert names(await next_of(changes)) == []
        lost = await next_of(changes)
        assert isinstance(lost, Lost)
        assert "is ended as soon as it begins" in str(lost.failure)
        assert await next_of(changes) == Changed(pod("a", 11))
        assert isinstance(await next_of(changes), Reached)
        pauses = gaps(server, watch=True)
        assert len(pauses) == 12
        assert 0.1 <= pauses[0] <= 0.3
        assert all(MAX_DELAY / 2 <= one <= MAX_DELAY + 0.1 for one in pauses[8:])
        assert changes.statistics().current_buffer_used == 0


async def test_garbage_from_each_watch_is_said_once(autojump_clock):
    garbage, lists = watches(raw(b"<html>\n")), answers(pod("a", 9))
    async with reflecting(*[lists, garbage] * 6, lists, watches()) as (changes, _):
        seen = [await next_of(changes) for _ in range(9)]
        assert [type(one).__name__ for one in seen] == ["Synced"] * 2 + ["Lost"] + ["Synced"] * 5 + ["Reached"]


@pytest.mark.parametrize("code", [500, 429])
async def test_a_server_that_is_too_busy_or_fails_a_list_is_nothing_to_speak_of_unless_that_lasts(code, autojump_clock):
    """One that starts does both."""
    for_seconds = []
    for failures in (4, 9):
        async with reflecting(*[says(code, "Why")] * failures, answers(), watches()) as (changes, server):
            lost = isinstance(first := await next_of(changes), Lost)
            assert names(await next_of(changes) if lost else first) == []
            for_seconds.append((lost, sum(gaps(server)[:failures])))
    (was_told, short), (was_told_later, long) = for_seconds
    assert (was_told, was_told_later) == (False, True)
    assert short < LASTING < long


@pytest.mark.parametrize("code", [403, 503, 401, 404])
async def test_a_refusal_is_said_once_and_waited_for(code, autojump_clock):
    async with reflecting(*[says(code, "Why")] * 10, answers(pod("a", 9)), watches()) as (changes, server):
        lost = await next_of(changes)
        assert isinstance(lost, Lost)
        assert isinstance(lost.failure, ApiError)
        assert (lost.failure.code, lost.failure.reason) == (code, "Why")
        assert names(await next_of(changes)) == ["a"]
        assert isinstance(reached := await next_of(changes), Reached)
        assert reached.seconds == pytest.approx(sum(gaps(server)[:10]) + STEADY, abs=1)
        assert max(gaps(server)[:10]) <= MAX_DELAY + 0.1


@pytest.mark.parametrize("of_a_watch", [False, True], ids=["list", "watch"])
async def test_a_server_that_is_too_busy_is_left_alone_for_as_long_as_it_asks(of_a_watch, autojump_clock):
    busy, a_watch = says(429, "TooManyRequests", Retry_After="17"), watches(event("ADDED", pod("a", 11)))
    steps = (answers(), busy, a_watch) if of_a_watch else (busy, answers(), a_watch)
    async with reflecting(*steps) as (changes, server):
        assert names(await next_of(changes)) == []
        assert isinstance(await next_of(changes), Changed)
        assert 17 <= gaps(server)[of_a_watch] <= 17.4


async def test_a_server_that_asks_for_a_time_by_its_own_clock(autojump_clock):
    """Which is years away from ours."""
    busy = says(429, Retry_After="Wed, 21 Oct 2015 07:28:30 GMT", Date="Wed, 21 Oct 2015 07:28:00 GMT")
    async with reflecting(busy, answers(), watches()) as (changes, server):
        assert names(await next_of(changes)) == []
        assert 30 <= gaps(server)[0] <= 30.4


@pytest.mark.parametrize(
    "body", [[], {}, {"items": 5}, {"items": [{}], "metadata": {"resourceVersion": "1"}}, b"<html>"]
)
async def test_something_that_is_no_list_is_not_taken_for_one(body, autojump_clock):
    async with reflecting(lambda exchange: exchange.answer(body), answers(pod("a", 9)), watches()) as (changes, _):
        lost = await next_of(changes)
        assert isinstance(lost, Lost)
        assert isinstance(lost.failure, ApiUnreachable)
        assert names(await next_of(changes)) == ["a"]


async def test_an_empty_list_of_go_is_null(autojump_clock):
    empty = json.loads('{"metadata": {"resourceVersion": "1"}, "items": null}')
    async with reflecting(lambda exchange: exchange.answer(empty), watches()) as (changes, _):
        assert names(await next_of(changes)) == []


@pytest.mark.parametrize("away", [1, 60, 3600])
async def test_a_server_that_was_away_is_found_again_soon(away, autojump_clock):
    """After an outage of any length: half a minute later at most, and it is said once that it was lost."""
    steps = (answers(pod("a", 9)), watches(pause(100), then="cut"))
    back_at = float("inf")

    async def script(exchange: Exchange) -> None:
        nonlocal back_at
        if len(server.requests) <= 2:
            await steps[len(server.requests) - 1](exchange)
            return
        if back_at == float("inf"):
            back_at = trio.current_time() + away
        if trio.current_time() < back_at:
            await exchange.hang_up()
        await watches(event("ADDED", pod("b", 12)))(exchange)

    async with scripted_server(script) as server, open_api_client(server.connection()) as api:
        async with api.reflect(PODS) as changes:
            assert names(await next_of(changes)) == ["a"]
            assert isinstance(await next_of(changes), Lost)
            assert await next_of(changes) == Changed(pod("b", 12))
            assert trio.current_time() - back_at <= MAX_DELAY
            assert isinstance(await next_of(changes), Reached)
            # It was not asked more often than that.
            assert len(server.requests) <= 14 + away / (MAX_DELAY / 2)
