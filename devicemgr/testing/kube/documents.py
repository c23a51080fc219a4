"""What can be applied: a dictionary, a YAML text, or the path of a file, with any number of objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...cluster.objects.metadata import Object
from ...errors import BadInput
from ...input.yaml_fields import load_documents

Applicable = Mapping[str, Any] | str | Path
"""A text without a line break is a path."""


def objects_of(what: Applicable) -> list[Object]:
    """Raises BadInput, with file, line and field."""
    if isinstance(what, Mapping):
        return [_checked(dict(what), "the dictionary")]
    file, text = _read(what)
    documents = [field.plain() for field in load_documents(text, file=file)]
    found = [_checked(one, file) for document in documents for one in _listed(document)]
    if not found:
        raise BadInput("there is no object in it", file=file)
    return found


def _read(what: str | Path) -> tuple[str, str]:
    if isinstance(what, str) and "\n" in what.strip():
        return "the text", what
    path = Path(what)
    try:
        return str(path), path.read_text()
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}", file=str(path)) from error


def _listed(document: Any) -> list[Any]:
    """``kind: List`` is what kubectl prints of several objects."""
    is_list = isinstance(document, dict) and document.get("kind") == "List"
    return list(document.get("items") or []) if is_list else [document]


def _checked(found: Any, file: str) -> Object:
    """With what is needed to say where it is in the API. The rest is for the API server to judge."""
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise BadInput("must be an object of Kubernetes, with a kind", file=file)
    metadata = found.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise BadInput("must have a name, by which it is found again", file=file, field="metadata.name")
    return {"apiVersion": "v1", **found} if found["kind"] == "Pod" else found
