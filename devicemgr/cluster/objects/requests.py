"""What a pod requests of its node. CPU is in thousandths of one, everything else in whole units, as in the messages of
the fit check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil

from ...quantity import amount
from .metadata import Object

Requests = Counter[str]


def quantities(given: Mapping[str, object]) -> Requests:
    """``{"cpu": "500m", "memory": "1Gi"}`` → 500, 1073741824; fractions count as one more."""
    return Counter({name: ceil(amount(str(text)) * (1000 if name == "cpu" else 1)) for name, text in given.items()})


def pod_requests(pod: Object) -> Requests:
    """The most that runs at one time: the main containers together, or an init container with the sidecars before it.

    What a pod requests as a whole replaces that, and its overhead comes on top.
    """
    spec = pod["spec"]
    sidecars: Requests = Counter()
    most: Requests = Counter()
    for container in spec.get("initContainers") or []:
        requested = _of(container)
        if container.get("restartPolicy") == "Always":
            sidecars += requested
            most |= sidecars
        else:
            most |= sidecars + requested
    most |= _sum(map(_of, spec["containers"])) + sidecars
    whole = quantities((spec.get("resources") or {}).get("requests") or {})
    return Counter({**most, **whole}) + quantities(spec.get("overhead") or {})


def _of(container: Object) -> Requests:
    return quantities((container.get("resources") or {}).get("requests") or {})


def _sum(requests: Iterable[Requests]) -> Requests:
    total: Requests = Counter()
    for one in requests:
        total += one
    return total
