"""Kinds of objects that are pods or make pods: where the pod is in them, and how its controller would name it.

Where a controller uses random letters or the time, they are derived from the object's name here, so that admitting the
same file twice means the same pod.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .yaml_fields import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A pod, or a workload that makes pods."""

    namespace: str
    name: str
    uid: str
    spec: Mapping[str, Field]

    def seed(self, index: int) -> str:
        return f"{self.namespace}/{self.name}#{index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``template`` is the path from the object to what has the pod's ``spec``. A single one has no replicas, as a
    DaemonSet, which has one pod on a node."""

    template: tuple[str, ...] = ("spec", "template")
    pod_name: Callable[[Workload, int], str]
    is_single: bool = False


_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of generated names: none that form words or look alike."""
_MAX_BASE = 58


def generated_name(base: str, seed: str) -> str:
    """A name as the API server makes it from a generateName."""
    return base[:_MAX_BASE] + _derived_letters(seed, 5)


def _derived_letters(seed: str, length: int, alphabet: str = _LETTERS) -> str:
    """Like random ones, but always the same for the same ``seed``."""
    number = uuid.uuid5(uuid.NAMESPACE_URL, f"letters:{seed}").int
    return "".join(alphabet[number // len(alphabet) ** place % len(alphabet)] for place in range(length))


def _replica_set_pod_name(workload: Workload, index: int) -> str:
    return generated_name(f"{workload.name}-", workload.seed(index))


def _deployment_pod_name(workload: Workload, index: int) -> str:
    """Its ReplicaSet is named after a hash of the template."""
    return generated_name(f"{workload.name}-{_derived_letters(workload.seed(-1), 10)}-", workload.seed(index))


def _deployment_config_pod_name(workload: Workload, index: int) -> str:
    """Its ReplicationController is named after the number of the rollout."""
    return generated_name(f"{workload.name}-1-", workload.seed(index))


def _stateful_set_pod_name(workload: Workload, index: int) -> str:
    ordinals = workload.spec["ordinals"].mapping() if "ordinals" in workload.spec else {}
    return f"{workload.name}-{index + (ordinals['start'].whole_number() if 'start' in ordinals else 0)}"


def _job_pod_name(workload: Workload, index: int) -> str:
    is_indexed = "completionMode" in workload.spec and workload.spec["completionMode"].text() == "Indexed"
    return generated_name(f"{workload.name}-{index}-" if is_indexed else f"{workload.name}-", workload.seed(index))


def _cron_job_pod_name(workload: Workload, index: int) -> str:
    """Its Job is named after the minutes since 1970."""
    return generated_name(
        f"{workload.name}-2{_derived_letters(workload.seed(-1), 7, '0123456789')}-", workload.seed(index)
    )


def custom_pod_name(number: int) -> Callable[[Workload, int], str]:
    """A name for the pods of the template with this number in an object of an unknown kind."""
    return lambda workload, index: generated_name(f"{workload.name}-{number}-", workload.seed(index))


KINDS = {
    "Pod": Kind(template=(), pod_name=lambda workload, _: workload.name, is_single=True),
    "Deployment": Kind(pod_name=_deployment_pod_name),
    "StatefulSet": Kind(pod_name=_stateful_set_pod_name),
    "DaemonSet": Kind(pod_name=_replica_set_pod_name, is_single=True),
    "Job": Kind(pod_name=_job_pod_name),
    "CronJob": Kind(template=("spec", "jobTemplate", "spec", "template"), pod_name=_cron_job_pod_name),
    "ReplicaSet": Kind(pod_name=_replica_set_pod_name),
    "ReplicationController": Kind(pod_name=_replica_set_pod_name),
    "DeploymentConfig": Kind(pod_name=_deployment_config_pod_name),
}


_GROUPS = frozenset({"", "apps", "batch", "extensions", "apps.openshift.io"})


def is_built_in(api_version: str) -> bool:
    """Is this the API group of one of :data:`KINDS`? Other groups use the same kinds: Volcano has a Job."""
    group, slash, _ = api_version.partition("/")
    return not slash or group in _GROUPS


_TEMPLATE = re.compile(r"[tT]emplates?(\[\d+\])?$")


def pod_templates(item: Field) -> Iterator[Field]:
    """Everything in an object that is called a template and has a ``spec`` with ``containers``, in order: in a JobSet,
    a LeaderWorkerSet, a RayCluster … Without the name, the pattern of a policy would be one as well."""
    for place in item.within():
        spec = place.mapping().get("spec") if place.is_mapping and _TEMPLATE.search(place.path) else None
        if spec is not None and spec.is_mapping and "containers" in spec.mapping():
            yield place


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# All fields of Kubernetes v1.37 and older versions, where a misspelt one matters for devices.
OBJECT_FIELDS = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
METADATA_FIELDS = _words(
    """annotations clusterName creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName
    generation labels managedFields name namespace ownerReferences resourceVersion selfLink uid"""
)
SPEC_FIELDS = _words(
    """activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks
    ephemeralContainers evictionResponders hostAliases hostIPC hostNetwork hostPID hostUsers hostname
    hostnameOverride imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy priority
    priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName
    schedulingGates schedulingGroup securityContext serviceAccount serviceAccountName setHostnameAsFQDN
    shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes
    workloadRef"""
)
CONTAINER_FIELDS = _words(
    """args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy
    resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath
    terminationMessagePolicy tty volumeDevices volumeMounts workingDir"""
)
RESOURCES_FIELDS = frozenset({"claims", "limits", "requests"})
NATIVE_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage", "storage"})
