"""What two answers to Allocate have to have in common to be the same answer."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from ...model import DeviceId, RunOptions

_NONCE = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?<![\w-])[0-9a-zA-Z_-]{16,}(?![\w-])")
"""A UUID, or a long word: one that has digits and letters is taken for random."""
_CDI_ANNOTATION = "cdi.k8s.io/"

Meaning = Mapping[str, tuple[str, ...]]
"""By the name of a field, what stands there, in one order."""


def meaning(answer: RunOptions, known: Collection[DeviceId] = ()) -> Meaning:
    """The answer without what means nothing: of two answers that do the same to a container, the same.

    The kubelet asks for ids in the order of a Go map, and the runtime sorts mounts and makes every device node, so no
    order in here can mean anything, nor that within an environment variable. What follows ``cdi.k8s.io/`` in the key
    of an annotation has to be unique and is not read. A nonce is as good as the next one; an id of a ``known`` device
    is none, however random it looks.
    """

    def same(text: str) -> str:
        return _NONCE.sub(lambda found: _unless_random(found.group(), known), text)

    def words(text: str) -> str:
        return ",".join(sorted(same(text).split(",")))

    fields = {
        "envs": [f"{key}={words(value)}" for key, value in answer.envs.items()],
        "mounts": [same(str(mount)) for mount in answer.mounts],
        "device_specs": [same(str(spec)) for spec in answer.device_specs],
        "annotations": [f"{_read_of(key)}={words(value)}" for key, value in answer.annotations.items()],
        "cdi_devices": [same(name) for name in answer.cdi_devices],
    }
    return {name: tuple(sorted(values)) for name, values in fields.items()}


def _unless_random(word: str, known: Collection[DeviceId]) -> str:
    is_random = any(map(str.isdigit, word)) and any(map(str.isalpha, word))
    return "…" if is_random and not any(id and (id in word or word in id) for id in known) else word


def _read_of(key: str) -> str:
    return _CDI_ANNOTATION if key.startswith(_CDI_ANNOTATION) else key


def difference(one: Meaning, other: Meaning) -> str:
    """Where they differ, and how: what only one of them has; empty when they do not."""
    for name in one:
        if one[name] != other[name]:
            return f"{name} {_only(one[name], other[name])} and then {_only(other[name], one[name])}"
    return ""


def _only(here: tuple[str, ...], there: tuple[str, ...]) -> str:
    return f"{', '.join(text for text in here if text not in there) or 'less':.100}"
