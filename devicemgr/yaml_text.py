"""YAML that knows its lines: the only module that imports yaml.

:class:`Field` is a value in a document together with its place, so that whoever reads it can say
``pod.yaml:7: spec.containers[0].resources.limits: …``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from .errors import BadInput

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Field:
    """A value at ``path`` of ``file``. Reading it as something it is not raises BadInput with its place."""

    file: str
    path: str
    node: yaml.Node

    def bad(self, problem: str) -> BadInput:
        """The error to raise for this field."""
        return BadInput(problem, file=self.file, line=self.node.start_mark.line + 1, field=self.path)

    def mapping(self) -> dict[str, Field]:
        """By key; a key with a null value is left out. A key that stands twice is an error."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.bad(f"must be a mapping, not {self._kind()}")
        fields: dict[str, Field] = {}
        for key_node, value_node in self.node.value:
            if key_node.tag == _MERGE:
                raise Field(self.file, self.path, key_node).bad("merge keys (<<) are not supported; write them out")
            key = Field(self.file, self.path, key_node).text()
            field = Field(self.file, f"{self.path}.{key}" if self.path else key, value_node)
            if key in fields:
                raise Field(self.file, field.path, key_node).bad("stands twice")
            fields[key] = field
        return {key: field for key, field in fields.items() if field.node.tag != _NULL}

    def sequence(self) -> list[Field]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.bad(f"must be a list, not {self._kind()}")
        return [Field(self.file, f"{self.path}[{index}]", node) for index, node in enumerate(self.node.value)]

    def text(self) -> str:
        """The scalar as it is written, whatever type YAML would make of it."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.bad(f"must be a single value, not {self._kind()}")
        value: str = self.node.value
        return value

    def boolean(self) -> bool:
        if self.node.tag != "tag:yaml.org,2002:bool":
            raise self.bad(f"must be true or false, not {self._kind()}")
        return self.text().lower() in ("true", "yes", "on")

    def _kind(self) -> str:
        if isinstance(self.node, yaml.ScalarNode):
            return repr(self.node.value)
        return "a mapping" if isinstance(self.node, yaml.MappingNode) else "a list"


def load_documents(text: str, *, file: str) -> list[Field]:
    """The documents of a YAML (or JSON) text; empty ones are left out. Raises BadInput for broken YAML."""
    return list(_documents(text, file))


def _documents(text: str, file: str) -> Iterator[Field]:
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            if node is not None and node.tag != _NULL:
                yield Field(file, "", node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise BadInput(f"this is not valid YAML: {error.problem}", file=file, line=line) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadInput(f"this is not valid YAML: {error.reason}", file=file, line=line) from error
    except RecursionError as error:
        raise BadInput("this is nested too deeply", file=file) from error
    except yaml.YAMLError as error:
        raise BadInput(f"this is not valid YAML: {error}", file=file) from error


def dump(value: Any) -> str:
    """Plain data as YAML, in the order given."""
    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=False)
    return text
