"""Metrics: the event log, counted (MET-1, MET-2).

Every counter counts events, so metrics and log always agree; only sizes are looked up at a scrape. Names, types, labels
and buckets are the kubelet's. Metrics that the kubelet does not have (MET-2) begin with ``devicemgr_``; ``process_*``
are those of every Prometheus client.

LIM-29: a resource name becomes a label only after it was validated, and only so many names do; the others are counted
under ``other``. The kubelet counts before it validates, so any local caller can make it keep as many series as it sends
names; here a refused registration is counted by the rule that refused it.
"""

# Decision: some of the kubelet's counters do not end in ``_total``, which prometheus-client insists on.
# :meth:`Metrics.render` removes that suffix from them, and the ``_created`` samples, which Go does not have.

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from typing import Protocol

import trio
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from ... import events as e
from ...core.topology.policy import Policy, Scope
from ...core.views.gauges import Gauge
from ...resource_names import why_not_extended
from ...version import installed_version
from ..event_log import RecordedEvent

_CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ADMISSION_BUCKETS = tuple(0.05 * 2**k for k in range(15))
MAX_RESOURCE_LABELS = 2000
"""Resource names that become labels."""
_NUMA = "numa_node"
_REASONS = frozenset({"UnexpectedAdmissionError", "TopologyAffinityError"})
_REQUESTS = "kubelet_pod_resources_endpoint_requests"
_ERRORS = "kubelet_pod_resources_endpoint_errors"
_ALIGNED = "kubelet_container_aligned_compute_resources"
_METHODS = ("list", "get_allocatable", "get")
_WITHOUT_TOTAL = (
    *(f"{_REQUESTS}_{method}" for method in _METHODS),
    *(f"{_ERRORS}_{method}" for method in _METHODS),
    f"{_ALIGNED}_count",
    f"{_ALIGNED}_failure_count",
)


def build_info() -> dict[str, str]:
    return {"version": installed_version(), "python_version": platform.python_version()}


class Gauges(Protocol):
    """What has sizes, which are looked up at a scrape."""

    def gauges(self) -> Iterable[Gauge]: ...


class Metrics:
    """A sink of the event log, and the text of ``/metrics``."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._names: set[str] = set()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Info("devicemgr_build", "What runs.", registry=self._registry).info(build_info())
        self._make_kubelet_metrics()
        self._make_own_metrics()
        if policy is not Policy.NONE:  # MET-1
            for scope in (Scope.CONTAINER, Scope.POD):
                self._aligned.labels(scope.value, _NUMA)
                self._misaligned.labels(scope.value, _NUMA)

    def _make_kubelet_metrics(self) -> None:
        version = ["server_api_version"]
        self._registrations = self._counter(
            "kubelet_device_plugin_registration", "Register calls, by validated resource name.", ["resource_name"]
        )
        self._allocations = self._histogram(
            "kubelet_device_plugin_alloc_duration_seconds", "Allocate calls, failed ones too.", ["resource_name"]
        )
        self._requests = self._counter(_REQUESTS, "Calls of the PodResources API.", version)
        self._requests_by = {
            m: self._counter(f"{_REQUESTS}_{m}", f"Calls of {m} of the PodResources API.", version) for m in _METHODS
        }
        self._errors_by = {
            m: self._counter(f"{_ERRORS}_{m}", f"Failed calls of {m} of the PodResources API.", version)
            for m in _METHODS
        }
        self._admissions = self._counter("kubelet_topology_manager_admission_requests", "Pods asked for.", [])
        self._admission_errors = self._counter("kubelet_topology_manager_admission_errors", "Pods not aligned.", [])
        self._admission_time = Histogram(
            "kubelet_topology_manager_admission_duration_ms",
            "Whole milliseconds an admission took.",
            buckets=_ADMISSION_BUCKETS,
            registry=self._registry,
        )
        where = ["scope", "boundary"]
        self._aligned = self._counter(f"{_ALIGNED}_count", "Allocations within one NUMA node.", where)
        self._misaligned = self._counter(f"{_ALIGNED}_failure_count", "Refused for more than one NUMA node.", where)
        self._rejections = self._counter("kubelet_admission_rejections", "Refused pods, by reason.", ["reason"])

    def _make_own_metrics(self) -> None:
        resource = ["resource_name"]
        self._refused = self._counter("devicemgr_registrations_refused", "Refused registrations, by rule.", ["rule"])
        self._reports = self._counter("devicemgr_list_updates", "Lists of devices that were applied.", resource)
        self._problems = self._counter("devicemgr_list_problems", "List entries corrected or left out.", resource)
        self._stream_ends = self._counter("devicemgr_stream_ends", "Ends of ListAndWatch streams.", resource)
        self._health = self._counter(
            "devicemgr_device_health_changes", "Changes of the health of held devices.", ["resource_name", "health"]
        )
        self._calls = self._counter(
            "devicemgr_plugin_calls", "Calls to plug-ins, by outcome.", ["resource_name", "method", "outcome"]
        )
        self._call_time = self._histogram(
            "devicemgr_plugin_call_duration_seconds", "Calls to plug-ins.", ["resource_name", "method"]
        )
        self._writes = self._counter("devicemgr_checkpoint_writes", "Attempts to write the state.", ["outcome"])
        self._write_time = self._histogram("devicemgr_checkpoint_write_duration_seconds", "Durable writes.", [])
        self._set_aside = self._counter("devicemgr_files_set_aside", "State files that were damaged, or not ours.", [])
        self._peer_limits = self._counter(
            "devicemgr_peer_limits_reached", "How often a peer reached a peer limit.", ["limit"]
        )
        self._strangers = self._counter("devicemgr_calls_denied", "Calls by users who may not call.", [])
        self._broken = self._counter("devicemgr_connections_broken", "Connections that violated the protocol.", [])
        self._odd = self._counter("devicemgr_allocate_answers_flagged", "Allocate answers with odd texts.", resource)
        self._removals = self._counter("devicemgr_pods_removed", "Pods whose devices were given back.", [])

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(name, text, labels, buckets=_CALL_BUCKETS, registry=self._registry)

    def _name(self, resource: str) -> str:
        if len(self._names) < MAX_RESOURCE_LABELS:
            self._names.add(resource)
        return resource if resource in self._names else "other"

    def __call__(self, recorded: RecordedEvent) -> None:
        match recorded.event:
            case e.RegistrationRequested(resource=resource):
                self._count_registration(resource)
            case e.PluginRefused(rule=rule):
                self._refused.labels(rule).inc()
            case e.DeviceListApplied(resource=resource):
                self._reports.labels(self._name(resource)).inc()
            case e.DeviceListNormalised(resource=resource, count=count):
                self._problems.labels(self._name(resource)).inc(count)
            case e.PeerLimitReached(limit=limit, times=times):
                self._peer_limits.labels(limit).inc(times)
            case e.CallsDenied(times=times):
                self._strangers.inc(times)
            case e.ConnectionBroken(times=times):
                self._broken.inc(times)
            case e.AllocateAnswerFlagged(resource=resource):
                self._odd.labels(self._name(resource)).inc()
            case e.EndpointStopped(resource=resource) | e.PluginEnded(resource=resource):
                self._stream_ends.labels(self._name(resource)).inc()
            case e.DeviceHealthChanged(resource=resource, health=health):
                self._health.labels(self._name(resource), health).inc()
            case e.CallFinished() as call:
                self._count_call(call)
            case e.PodResourcesCalled() as call:
                self._count_pod_resources(call)
            case e.PodAdmitted(seconds=seconds):
                self._count_admission(seconds)
            case e.PodRefused() as refusal:
                self._count_refusal(refusal)
            case e.PodAligned(scope=scope, aligned=aligned):
                (self._aligned if aligned else self._misaligned).labels(scope, _NUMA).inc()
            case e.PodRemoved():
                self._removals.inc()
            case e.CheckpointWritten(seconds=seconds):
                self._writes.labels("ok").inc()
                self._write_time.observe(seconds)
            case e.CheckpointFailed():
                self._writes.labels("failed").inc()
            case e.FileSetAside():
                self._set_aside.inc()

    def _count_registration(self, resource: str) -> None:
        """Every call of Register with a valid name, whatever its result (LIM-29)."""
        if why_not_extended(resource) is None:
            self._registrations.labels(self._name(resource)).inc()

    def _count_call(self, call: e.CallFinished) -> None:
        name = self._name(call.resource)
        self._calls.labels(name, call.method, call.outcome).inc()
        self._call_time.labels(name, call.method).observe(call.seconds)
        if call.method == "Allocate":
            self._allocations.labels(name).observe(call.seconds)

    def _count_pod_resources(self, call: e.PodResourcesCalled) -> None:
        self._requests.labels(call.version).inc()
        if call.version == "v1":  # v1alpha1 counts in the total only
            self._requests_by[call.method].labels(call.version).inc()
        if call.failed:
            self._errors_by[call.method].labels(call.version).inc()

    def _count_admission(self, seconds: float) -> None:
        self._admissions.inc()
        self._admission_time.observe(int(seconds * 1000))

    def _count_refusal(self, refusal: e.PodRefused) -> None:
        self._count_admission(refusal.seconds)
        out_of = refusal.reason.startswith("OutOf")
        if self._policy is not Policy.NONE and not out_of:
            self._admission_errors.inc()
        known = refusal.reason if refusal.reason in _REASONS else "Other"
        self._rejections.labels("OutOfExtendedResources" if out_of else known).inc()

    async def render(self, gauges: Gauges) -> bytes:
        """The text of a scrape. Other tasks run between two metrics, since all of them may take a while."""
        parts = []
        for metric in self._collect(gauges):
            parts.append(generate_latest(_Only(metric)).decode())
            await trio.lowlevel.checkpoint()
        text = "".join(parts)
        for name in _WITHOUT_TOTAL:
            text = text.replace(f"{name}_total", name)
        return text.encode()

    def _collect(self, gauges: Gauges) -> Iterator[Metric]:
        """The counters without ``_created`` samples, and the gauges."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
        for gauge in gauges.gauges():
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for labels, value in gauge.samples.items():
                family.add_metric(labels, value)
            yield family


class _Only:
    """A registry of one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric
