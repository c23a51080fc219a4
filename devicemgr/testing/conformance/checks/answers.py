"""When two answers to Allocate count as the same answer."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from ....model import DeviceId, DeviceSpec, Mount, RunOptions
from ..abbreviation import difference

_NONCE = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?<![\w-])[0-9a-zA-Z_-]{16,}(?![\w-])")
"""A UUID or a long word. It counts as random if it has digits and letters, and is not ``_SPOKEN``."""
_SPOKEN = re.compile(r"[A-Za-z]{3,}\d{0,3}(?:[-_](?:[A-Za-z]{2,}\d{0,3}|\d{1,4}))*")
"""Words with numbers, such as ``vendor-accelerator-12``: that another one comes each time is what a plug-in which
counts what it hands out does."""
_CDI_ANNOTATION = "cdi.k8s.io/"
_LONGEST = 60
"""A value of up to this many characters is shown whole."""

NormalizedAnswer = Mapping[str, tuple[str, ...]]
"""The values of each field, sorted."""


def normalized(answer: RunOptions, known: Collection[DeviceId] = ()) -> NormalizedAnswer:
    """The answer without what makes no difference to a container.

    The kubelet passes ids in the order of a Go map, and the runtime sorts mounts and creates every device node, so
    order does not matter, nor does it within an environment variable. What follows ``cdi.k8s.io/`` in the key of an
    annotation must be unique and is not read. Nonces are equal to each other; the id of a ``known`` device is never a
    nonce, however random it looks.
    """

    def same(text: str) -> str:
        return _NONCE.sub(lambda found: _unless_random(found.group(), known), text)

    def words(text: str) -> str:
        return ",".join(sorted(same(text).split(",")))

    fields = {
        "envs": [f"{key}={words(value)}" for key, value in answer.envs.items()],
        "mounts": [same(_mount(mount)) for mount in answer.mounts],
        "device_specs": [same(_device_spec(spec)) for spec in answer.device_specs],
        "annotations": [f"{annotation_key(key)}={words(value)}" for key, value in answer.annotations.items()],
        "cdi_devices": [same(name) for name in answer.cdi_devices],
    }
    return {name: tuple(sorted(values)) for name, values in fields.items()}


def _mount(mount: Mount) -> str:
    return f"{mount.host_path} at {mount.container_path}" + " (read-only)" * mount.read_only


def _device_spec(spec: DeviceSpec) -> str:
    return f"{spec.host_path} at {spec.container_path} ({spec.permissions})"


def _unless_random(word: str, known: Collection[DeviceId]) -> str:
    is_random = any(map(str.isdigit, word)) and any(map(str.isalpha, word)) and not _SPOKEN.fullmatch(word)
    return "…" if is_random and not any(id and (id in word or word in id) for id in known) else word


def annotation_key(key: str) -> str:
    """The same for all annotations with CDI devices."""
    return _CDI_ANNOTATION if key.startswith(_CDI_ANNOTATION) else key


def first_difference(one: NormalizedAnswer, other: NormalizedAnswer) -> str:
    """The difference in the first field that differs; empty if the answers are the same."""
    for name in one:
        if one[name] != other[name]:
            return f"{name}: {_change(one[name], other[name])}"
    return ""


def _change(one: tuple[str, ...], other: tuple[str, ...]) -> str:
    """If one variable has another value, what differs in the value."""
    gone, come = sorted(set(one) - set(other)), sorted(set(other) - set(one))
    if len(gone) == len(come) == 1:
        (key, equals, before), (same_key, _, after) = gone[0].partition("="), come[0].partition("=")
        if equals and key == same_key:
            return f"{key}: {difference(before.split(','), after.split(','), longest=_LONGEST)}"
    return difference(one, other, longest=_LONGEST)
