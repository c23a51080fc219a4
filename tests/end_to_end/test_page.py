"""The page in a real browser: what happens is seen, in time, by everybody, and nothing else happens."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest
import trio

from devicemgr import Container, Device, Pod, open_device_manager, open_portal
from devicemgr.daemon.page.recorded import Recording
from devicemgr.daemon.page.site import serve_recording
from devicemgr.events import ManagerReady
from devicemgr.testing import open_simulated_plugin
from devicemgr.testing.portal import BlockingPlugin

from . import browser as chromium

pytestmark = pytest.mark.skipif(bool(chromium.missing()), reason=f"no browser: {chromium.missing()}")

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"
HOSTILE = "<img src=x onerror=document.title='owned'>"
SEEN_WITHIN = 0.5
"""Seconds from the change of a device to that of its cell."""


def cell(id):
    """The cell of a device, as an expression."""
    cells = "[...document.querySelectorAll('#resources [role=option]')]"
    return f"{cells}.find((cell) => cell.device.id === {json.dumps(id)})"


def cell_is(id, state):
    return f"{cell(id)}?.dataset.state === {json.dumps(state)}"


@pytest.fixture(scope="module")
def browser():
    with chromium.open_browser() as opened:
        yield opened


@pytest.fixture
def portal():
    with open_portal() as opened:
        yield opened


@pytest.fixture
def manager(portal, root_dir):
    with portal.manager(open_device_manager(root_dir, page_address=("", 0))) as opened:
        yield opened


def url_of(manager):
    (ready,) = [one.event for one in manager.events() if isinstance(one.event, ManagerReady)]
    return ready.sockets[-1]


@pytest.fixture
def plugin(portal, manager):
    """Serves plug-ins; returns when their devices are known."""
    with ExitStack() as stack:

        def serve(resource, devices):
            opened = open_simulated_plugin(manager.layout.plugins, resource, devices=devices)
            served = BlockingPlugin(portal, stack.enter_context(portal.enter(opened)))
            served.register()
            manager.wait_for_resource(resource, capacity=len(devices))
            return served

        yield serve


def pod(name, **limits):
    limits = {f"vendor.com/{resource}": count for resource, count in limits.items()}
    return Pod(name=name, uid=name, containers=(Container(name="main", limits=limits),))


def gpus(count, nodes=2):
    return [Device(id=f"gpu-{number}", numa_nodes=(number * nodes // count,)) for number in range(count)]


def test_more_tabs_than_a_browser_has_connections_to_one_server(browser, manager, plugin):
    """Those that nobody sees leave theirs to the others, and are up to date when they are seen again."""
    gpu = plugin(GPU, gpus(1))
    first = browser.driver.current_window_handle
    try:
        browser.open(url_of(manager))
        for _ in range(7):
            browser.driver.switch_to.new_window("tab")
            browser.open(url_of(manager))
            browser.until(cell_is("gpu-0", "f"))
        gpu.set_health("gpu-0", "Unhealthy")
        browser.until(cell_is("gpu-0", "u"))
    finally:
        for tab in browser.driver.window_handles:
            browser.driver.switch_to.window(tab)
            if tab != first:
                browser.driver.close()
        browser.driver.switch_to.window(first)
    browser.until(cell_is("gpu-0", "u"))


@pytest.mark.alone
@pytest.mark.parametrize("media", [{}, {"prefers-color-scheme": "dark", "prefers-reduced-motion": "reduce"}])
def test_a_device_flips_and_so_does_its_cell(browser, manager, plugin, media):
    gpu = plugin(GPU, gpus(4))
    browser.open(url_of(manager), media=media)
    browser.until(cell_is("gpu-3", "f"))
    for health, state in [("Unhealthy", "u"), ("Healthy", "f")] * 3:
        gpu.set_health("gpu-3", health)
        _, seconds = browser.until(cell_is("gpu-3", state))
        assert seconds < SEEN_WITHIN
    assert "unhealthy" not in browser.run(f"{cell('gpu-3')}.getAttribute('aria-label')")
    titles = browser.run("[...document.querySelectorAll('.group h4')].map((one) => one.innerText)")
    assert titles == ["NUMA node 0 · 2", "NUMA node 1 · 2"]
    assert browser.problems() == []


def test_a_pod_is_admitted_and_its_devices_are_its_colour(browser, manager, plugin):
    plugin(GPU, gpus(8))
    browser.open(url_of(manager))
    browser.until(cell_is("gpu-0", "f"))

    def looks():
        """Colour and letter of each held cell, and of each pod."""
        cells = browser.run(
            "[...document.querySelectorAll('#resources .cell.held')].map((cell) => "
            "[cell.device.id, getComputedStyle(cell).backgroundColor, cell.textContent])"
        )
        signs = browser.run(
            "[...document.querySelectorAll('#pod-list .pod')].map((item) => [item.dataset.uid, "
            "getComputedStyle(item.querySelector('.cell')).backgroundColor, item.querySelector('.cell').textContent])"
        )
        return {id: (colour, letter) for id, colour, letter in cells}, {
            uid: (colour, letter) for uid, colour, letter in signs
        }

    assert manager.admit(pod("first", gpu=2))
    assert manager.admit(pod("second", gpu=3))
    held = "[...document.querySelectorAll('#resources .cell.held')]"
    pods = "document.querySelectorAll('#pod-list .pod')"  # who they are comes after what they hold
    browser.until(f"{pods}.length === 2 && {held}.map((cell) => cell.textContent).join('') === 'AABBB'")
    cells, pods = looks()
    assert all(one != other for one, other in zip(pods["first"], pods["second"], strict=True))
    assert [*cells.values()] == [pods["first"]] * 2 + [pods["second"]] * 3
    assert "held by pod A, default/first, container main" in browser.run(f"{cell('gpu-0')}.getAttribute('aria-label')")
    manager.remove("default", "first")
    browser.until(cell_is("gpu-0", "f"))
    assert looks()[1] == {"second": pods["second"]}


def test_what_a_peer_wrote_is_text(browser, manager, plugin):
    plugin(NIC, [Device(id=HOSTILE), Device(id="\u202e</script><script>document.title='owned'</script>")])
    browser.open(url_of(manager))
    browser.until(cell_is(HOSTILE, "f"))
    assert manager.admit(Pod(name=HOSTILE, uid=HOSTILE, containers=(Container(name=HOSTILE, limits={NIC: 1}),)))
    browser.until(cell_is(HOSTILE, "h"))
    browser.until("document.querySelectorAll('#event-rows tr').length > 3")
    assert browser.run("document.body.innerText").count(HOSTILE) >= 3
    assert browser.run("document.querySelectorAll('img, body script, iframe').length") == 0
    assert browser.run("document.title") == "Device Manager"
    with pytest.raises(Exception, match="TrustedHTML"):
        browser.run("document.body.innerHTML = '<b>x</b>'")
    assert browser.run("document.title") == "Device Manager"


def test_it_is_used_without_a_mouse(browser, manager, plugin):
    from selenium.webdriver.common.keys import Keys

    plugin(GPU, gpus(8))
    assert manager.admit(pod("first", gpu=1))
    browser.open(url_of(manager))
    browser.until(cell_is("gpu-0", "h"))

    def press(key):
        browser.driver.switch_to.active_element.send_keys(key)
        return browser.run("document.activeElement.device?.id ?? document.activeElement.textContent.trim()")

    assert press(Keys.TAB) == "Skip to the devices"
    seen = [press(Keys.TAB) for _ in range(3)]
    assert seen[:2] == ["gpu-0", "gpu-4"], "each group is one stop of the Tab key"
    browser.run(f"{cell('gpu-0')}.focus()")
    assert press(Keys.ARROW_RIGHT) == "gpu-1"
    assert press(Keys.END) == "gpu-3"
    assert press(Keys.HOME) == "gpu-0"
    assert browser.run("document.getElementById('detail').textContent") == (
        "gpu-0 · vendor.com/gpu · NUMA node 0 · held by pod A, default/first, container main"
    )
    browser.run("document.querySelector('.pod button').focus()")
    press(Keys.ENTER)
    browser.until(f"{cell('gpu-0')}.classList.contains('chosen')")
    assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "true"


def test_the_events_are_filtered(browser, manager, plugin):
    plugin(GPU, gpus(2))
    assert not manager.admit(pod("greedy", gpu=99))
    browser.open(url_of(manager))
    browser.until("document.querySelectorAll('#event-rows tr').length > 3")

    def shown(filter, value):
        browser.run(
            f"(() => {{ const input = document.getElementById('filter-{filter}'); input.value = {json.dumps(value)}; "
            "input.dispatchEvent(new Event('input', { bubbles: true })); return 1 })()"
        )
        return browser.run("[...document.querySelectorAll('#event-rows tr')].map((row) => row.children[2].textContent)")

    everything = shown("text", "")
    assert shown("severity", "warning") == [one for one in everything if one == "PodRefused"]
    shown("severity", "debug")
    assert set(shown("type", "PluginRegistered")) == {"PluginRegistered"}
    shown("type", "")
    assert set(shown("text", "greedy")) == {"PodRefused", "PodAdmissionRequested"}


def test_the_conversation_grows_and_the_tasks_are_those_of_the_manager(browser, manager, plugin):
    plugin(GPU, gpus(2))
    browser.open(url_of(manager))
    browser.until(cell_is("gpu-0", "f"))
    browser.run("document.getElementById('tab-talk').click()")
    talk = "document.getElementById('talk').textContent"
    browser.until(f"{talk}.includes('Register(v1beta1')")
    assert "Allocate(" not in browser.run(talk)
    assert manager.admit(pod("first", gpu=1))
    browser.until(f"{talk}.includes('Allocate(gpu-0)')")
    lifelines = browser.run("[...document.querySelectorAll('#lifelines b')].map((one) => one.textContent)")
    assert (len(lifelines), lifelines[1:]) == (3, ["manager", "caller"])
    browser.run("document.getElementById('tab-tasks').click()")
    names = "[...document.querySelectorAll('#tasks li > b')].map((one) => one.textContent)"
    nurseries = browser.run("[...document.querySelectorAll('#tasks .nursery > b')].map((one) => one.textContent)")
    assert tuple(nurseries) == manager.task_tree().nurseries
    assert f"{GPU} #1" in browser.run(names)
    plugin(NIC, [Device(id="nic-0")])
    browser.until(f"({names}).includes('{NIC} #2')")


@pytest.mark.alone
def test_a_thousand_devices_stay_smooth(browser, manager, plugin):
    """While one of them flips as fast as it can, the page draws as many frames as an idle one, or nearly."""
    gpu = plugin(GPU, gpus(1000, nodes=4))
    browser.open(url_of(manager))
    browser.until(cell_is("gpu-999", "f"))
    frames = """(() => {
        const done = arguments[arguments.length - 1], began = performance.now();
        let frames = 0, longest = 0, last = began;
        const tick = (now) => {
            frames += 1; longest = Math.max(longest, now - last); last = now;
            if (now - began > 1500) done([frames, longest]); else requestAnimationFrame(tick);
        };
        requestAnimationFrame(tick);
    })()"""
    idle, _ = browser.driver.execute_async_script(frames)
    with flipping(gpu):
        busy, longest = browser.driver.execute_async_script(frames)
    assert busy > 0.5 * idle, (idle, busy)
    assert longest < 500, "milliseconds"


@contextmanager
def flipping(plugin):
    """Some hundred flips a second, of many devices."""
    ended = threading.Event()

    def flip():
        number = 0
        while not ended.is_set():
            number += 1
            plugin.set_health(f"gpu-{number * 7 % 1000}", "Unhealthy" if number % 2 else "Healthy")

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_ten_thousand_devices_are_shown_together_and_each_when_asked_for(browser, manager, plugin):
    gpu = plugin(GPU, gpus(10_000))
    browser.open(url_of(manager))
    browser.until("document.querySelectorAll('.bar').length === 2")
    assert browser.run("document.querySelector('.bar').getAttribute('aria-label')") == "NUMA node 0: 5000 free"
    gpu.set_health("gpu-7", "Unhealthy")
    browser.until("document.querySelector('.sizes').textContent === '4999 free · 1 unhealthy'")
    browser.run("document.querySelector('.group button').click()")
    browser.until(cell_is("gpu-7", "u"))


def test_when_the_manager_ends_the_page_says_so_and_then_follows_the_next(browser, portal, root_dir):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = reserved.getsockname()
    with portal.manager(open_device_manager(root_dir, page_address=address)) as manager:
        browser.open(url_of(manager))
        browser.until("document.getElementById('connection').textContent === 'live'")
    browser.until("document.getElementById('connection').textContent.includes('not reached')")
    with portal.manager(open_device_manager(root_dir, page_address=address)):
        browser.until("document.getElementById('connection').textContent === 'live'", seconds=60)


def test_faults_are_injected_by_who_has_the_token(browser, portal, root_dir):
    opened = open_device_manager(root_dir, page_address=("", 0), allow_faults=True, page_token="a-token")
    with portal.manager(opened) as manager:
        browser.open(url_of(manager))
        browser.until("!document.getElementById('tab-faults').hidden")
        browser.run("document.getElementById('tab-faults').click()")
        press = "document.querySelector('form[aria-label=wipe] button').click()"
        browser.run(press)
        browser.until("document.getElementById('fault-result').textContent.includes('needs the token')")
        browser.run("document.getElementById('token').value = 'a-token'")
        browser.run(press)
        browser.until("document.getElementById('fault-result').textContent === 'wipe: done'")
        assert "FaultInjected" in [type(one.event).__name__ for one in manager.events()]


# --- a trace ----------------------------------------------------------------------------------------------------------


def test_a_trace_is_played_back_and_forth(browser, portal, root_dir):
    events = []
    sinks = [lambda recorded: events.append(recorded.as_json())]
    with portal.manager(open_device_manager(root_dir, sinks=sinks)) as manager:
        opened = open_simulated_plugin(manager.layout.plugins, GPU, devices=gpus(2))
        with portal.enter(opened) as target:
            gpu = BlockingPlugin(portal, target)
            gpu.register()
            manager.wait_for_resource(GPU, allocatable=2)
            assert manager.admit(pod("first", gpu=1))
            gpu.set_health("gpu-1", "Unhealthy")
            manager.wait_for_resource(GPU, allocatable=1)
    with portal.enter(serving(Recording("a.trace", json.loads(json.dumps(events))))) as url:
        browser.open(url)
        browser.until("!document.getElementById('time').hidden && document.getElementById('moment').textContent")
        assert browser.run("document.querySelectorAll('#resources .cell').length") == 0

        def move(seconds):
            browser.run(
                f"(() => {{ const slider = document.getElementById('slider'); slider.value = {seconds}; "
                "slider.dispatchEvent(new Event('input', { bubbles: true })); return 1 })()"
            )

        def second_of(name):
            return next(one["time"] for one in events if one["event"] == name) - events[0]["time"]

        move(second_of("PodAdmitted") + 1e-5)
        browser.until(f"{cell_is('gpu-0', 'h')} && {cell_is('gpu-1', 'f')}")
        move(second_of("EndpointStopped") - 1e-5)
        browser.until(cell_is("gpu-1", "u"))
        move(second_of("PluginRegistered"))
        browser.until("document.querySelectorAll('#resources .cell').length === 0")
        browser.run("document.getElementById('play').click()")
        browser.until(f"{cell_is('gpu-0', '?')} && document.getElementById('play').textContent === 'Play'", seconds=60)
        browser.run("document.getElementById('back').click()")
        browser.until(
            f"document.getElementById('moment').textContent.includes('event {len(events) - 1} of {len(events)}')"
        )
        assert browser.problems() == []


@asynccontextmanager
async def serving(recording):
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_recording, recording, ("", 0))
        nursery.cancel_scope.cancel()
