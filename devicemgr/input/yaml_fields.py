"""YAML that knows its lines: the only module that imports yaml.

:class:`Field` is a value in a document together with its place, for errors such as
``pod.yaml:7: spec.containers[0].resources.limits: …``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import yaml

from ..errors import BadInput

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_WHOLE = re.compile(r"([-+]?)(0[xX]|0[bB]|0[oO]?|)([0-9a-fA-F_]+)")
_BASES = {"0x": 16, "0b": 2, "0o": 8, "0": 8, "": 10}
_PAIR = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|.)", re.DOTALL)
"""An escape in JSON; a pair of surrogates is one character."""
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml is ten times as fast and makes the same nodes; PyYAML may be built without it."""
_DUMPER: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The same; it folds some long lines at other places."""
_BETWEEN = re.compile(r"(?:[ \t\r\n]|---(?=\s))*")
MOST_VALUES = 300_000
"""Values that are read of one text, counting repetitions: with aliases, a short text can have any number."""


@dataclass(slots=True)
class _Budget:
    left: int = MOST_VALUES


@dataclass(frozen=True, slots=True)
class Field:
    """A value at ``path`` of ``file``. Reading it as another type raises BadInput with its place.

    ``first_line`` is the line of the file on which the text begins; ``has_lines`` is False when its lines are not lines
    of the file. With ``warnings`` a duplicate key is reported there, and the last one counts.
    """

    file: str
    path: str
    node: yaml.Node
    first_line: int = 1
    has_lines: bool = True
    warnings: list[BadInput] | None = field(default=None, compare=False, repr=False)
    budget: _Budget = field(default_factory=_Budget, compare=False, repr=False)

    def bad(self, problem: str) -> BadInput:
        """The error to raise for this field."""
        line = self.first_line + (self.node.start_mark.line if self.has_lines else 0)
        return BadInput(problem, file=self.file, line=line, field=self.path)

    def _another_type(self, wanted: str, like: str) -> BadInput:
        example = f" such as {like}" if like else ""
        return self.bad(f"must be {wanted}{example}, not {self.described()}")

    def _spend(self, values: int) -> None:
        self.budget.left -= values
        if self.budget.left < 0:
            raise self.bad(f"the text has more than {MOST_VALUES:,} values, counting aliases")

    def _at(self, path: str, node: yaml.Node) -> Field:
        return replace(self, path=path, node=node)

    def documents(self) -> list[Field]:
        """The documents of this value, which is itself YAML text. Raises BadInput."""
        text, line = self.text(), self.first_line + (self.node.start_mark.line if self.has_lines else 0)
        is_block = isinstance(self.node, yaml.ScalarNode) and self.node.style == "|" and self.has_lines
        return list(_documents(text, replace(self, first_line=line + is_block, has_lines=is_block)))

    def mapping(self, *, like: str = "") -> dict[str, Field]:
        """By key; a key with a null value is left out. A duplicate key is an error.

        What is written out overrides what a merge key (``<<``) adds; its first mapping overrides the others. ``like``
        is an example, for who has written something else.
        """
        if not self.is_mapping:
            raise self._another_type("a mapping", like)
        fields = self._written()
        for node in self._merged():
            for key, value in self._at(self.path, node)._written().items():
                fields.setdefault(key, value)
        return {key: value for key, value in fields.items() if value.node.tag != _NULL}

    def _written(self) -> dict[str, Field]:
        """What is written out in this mapping, nulls included."""
        self._spend(len(self.node.value))
        fields: dict[str, Field] = {}
        for key_node, value_node in self.node.value:
            if key_node.tag == _MERGE:
                continue
            key = self._at(self.path, key_node).text()
            value = self._at(f"{self.path}.{key}" if self.path else key, value_node)
            if key in fields:
                again = self._at(value.path, key_node)
                if self.warnings is None:
                    raise again.bad("appears twice")
                self.warnings.append(again.bad("appears twice; the last one counts"))
            fields[key] = value
        return fields

    def _merged(self) -> Iterator[yaml.MappingNode]:
        """Every mapping that merge keys add, at any depth, the one that overrides the others first. Each once, so that
        a mapping that merges itself is no endless loop."""
        seen, waiting = {id(self.node)}, list(self._merges(self.node))[::-1]
        while waiting:
            node = waiting.pop()
            if id(node) not in seen:
                seen.add(id(node))
                yield node
                waiting += list(self._merges(node))[::-1]

    def _merges(self, node: yaml.Node) -> Iterator[yaml.MappingNode]:
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                several = isinstance(value_node, yaml.SequenceNode)
                for one in value_node.value if several else [value_node]:
                    if not isinstance(one, yaml.MappingNode):
                        raise self._at(self.path, key_node).bad("<< must be given a mapping, or a list of them")
                    yield one

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_text(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode)

    def with_text(self, text: str) -> Field:
        """Another value at the same place, such as a part of this one."""
        return replace(self, node=yaml.ScalarNode(self.node.tag, text, self.node.start_mark, self.node.end_mark))

    def within(self) -> Iterator[Field]:
        """This value and everything in it, in order; each once, even if several aliases lead to it."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            place = waiting.pop()
            if id(place.node) not in seen:
                seen.add(id(place.node))
                yield place
                inside = place.sequence() if place.is_list else place.mapping().values() if place.is_mapping else ()
                waiting += reversed([*inside])

    def sequence(self, *, like: str = "") -> list[Field]:
        """``like`` is an example, for who has written something else."""
        if not self.is_list:
            raise self._another_type("a list", like)
        self._spend(len(self.node.value))
        return [self._at(f"{self.path}[{index}]", node) for index, node in enumerate(self.node.value)]

    def text(self) -> str:
        """The scalar as written, whatever its type in YAML is."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.bad(f"must be a single value, not {self.described()}")
        value: str = self.node.value
        return value

    def number_text(self) -> str:
        """The same for a number: without quotes ``010`` is octal, as in the YAML 1.1 that Kubernetes reads."""
        text = self.text()
        is_plain = isinstance(self.node, yaml.ScalarNode) and not self.node.style
        whole = _WHOLE.fullmatch(text) if is_plain else None
        try:
            return text if whole is None else str(int(whole[1] + whole[3].replace("_", ""), _BASES[whole[2].lower()]))
        except ValueError:
            return text

    def whole_number(self) -> int:
        """A whole number that is not negative."""
        text = self.number_text()
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise self.bad(f"must be a whole number, not {self.described()}")
        return int(text)

    def boolean(self) -> bool:
        if self.node.tag != "tag:yaml.org,2002:bool":
            raise self.bad(f"must be true or false, not {self.described()}")
        return self.text().lower() in ("true", "yes", "on")

    def plain(self) -> Any:
        """The value as JSON has it: mappings, lists, text, numbers, true, false, null.

        Raises BadInput, also for a value that is a part of itself.
        """
        try:
            return self._plain()
        except RecursionError:
            raise self.bad("is nested too deeply, or is a part of itself") from None

    def _plain(self) -> Any:
        if self.is_mapping:
            return {key: value._plain() for key, value in self.mapping().items()}
        if self.is_list:
            return [one._plain() for one in self.sequence()]
        kind = self.node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        try:
            if kind == "bool":
                return self.boolean()
            return {"int": int, "float": float}.get(kind, str)(self.number_text())
        except ValueError:
            return self.text()

    def described(self) -> str:
        """A short description for error messages."""
        if isinstance(self.node, yaml.ScalarNode):
            return repr(self.node.value)
        if not isinstance(self.node, yaml.MappingNode):
            return "a list"
        is_template = any(isinstance(key, yaml.MappingNode) for key, _ in self.node.value)  # {{ .Values.name }}
        return "a template, which must be rendered first" if is_template else "a mapping"


def load_documents(text: str, *, file: str, warnings: list[BadInput] | None = None) -> list[Field]:
    """The documents of a YAML (or JSON) text; empty ones are left out. Raises BadInput for broken YAML."""
    return list(_documents(text, Field(file, "", yaml.MappingNode("", []), warnings=warnings)))


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.8) -> str:
    """``; did you mean …?``, for the end of a message, when one of the known words is similar. Otherwise empty."""
    plain = {_letters(one): one for one in known}
    found = get_close_matches(_letters(word), plain, 1, cutoff)
    return f"; did you mean {plain[found[0]]}?" if found else ""


def _letters(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


def _documents(text: str, place: Field) -> Iterator[Field]:
    """The documents of a text at ``place``."""

    def broken(problem: str, line: int | None = None) -> BadInput:
        if line is None:
            return BadInput(problem, file=place.file, field=place.path)
        if "{{" in text:
            problem += "; a template must be rendered first, as helm template does it"
        line = place.first_line + (line if place.has_lines else 0)
        return BadInput(f"this is not valid YAML: {problem}", file=place.file, line=line, field=place.path)

    text = text.removeprefix("\ufeff")
    if odd := yaml.reader.Reader.NON_PRINTABLE.search(text):
        raise broken(f"the character U+{ord(odd[0]):04X} is not allowed", text.count("\n", 0, odd.start()))
    try:
        for node in yaml.compose_all(_json_as_yaml(text), Loader=_LOADER):
            if node is not None and node.tag != _NULL:
                document = replace(place, node=node)
                document._spend(1)
                yield document
    except yaml.MarkedYAMLError as error:
        lines = text.split("\n")
        line = min(error.problem_mark.line, len(lines) - 1) if error.problem_mark else 0
        raise broken(_in_words(str(error.problem), lines[line]), line) from error
    except RecursionError as error:
        raise broken("this is nested too deeply") from error
    except yaml.YAMLError as error:
        raise broken(f"this is not valid YAML: {error}") from error


def _in_words(problem: str, line: str) -> str:
    """What libyaml found on this line, in words that help."""
    if "nesting depth" in problem:
        return "this is nested too deeply"
    if "\t" in line and ("cannot start any token" in problem or "violates indentation" in problem):
        return "a tab where only spaces are allowed"
    return problem


def _json_as_yaml(text: str) -> str:
    """JSON as YAML: without tabs between tokens, and with ``---`` between several values, which ``jq`` does not write.

    Lines are kept, except that two values on one line are put on two. A text that is not JSON is returned unchanged.
    """
    pieces: list[str] = []
    end = 0
    try:
        while (begin := _end_of(_BETWEEN, text, end)) < len(text):
            if text[begin] not in "{[" or len(pieces) > MOST_VALUES:
                return text
            space = text[end:begin]
            if pieces and "---" not in space:
                space += "--- " if space.endswith("\n") else "\n--- "
            end = json.JSONDecoder().raw_decode(text, begin)[1]
            value = _PAIR.sub(_one_character, text[begin:end]) if "\\u" in text else text[begin:end]
            pieces.append((space + value).replace("\t", " "))
    except (ValueError, RecursionError):
        return text
    return "".join(pieces)


def _one_character(escape: re.Match[str]) -> str:
    character: str = json.loads(f'"{escape[0]}"') if len(escape[0]) > 2 else escape[0]
    return character


def _end_of(pattern: re.Pattern[str], text: str, begin: int) -> int:
    found = pattern.match(text, begin)
    return found.end() if found else begin


def dump(value: Any) -> str:
    """Plain data as YAML, in the order given. Raises ValueError for other objects."""
    try:
        text: str = yaml.dump(value, Dumper=_DUMPER, sort_keys=False, default_flow_style=False)
    except yaml.representer.RepresenterError as error:
        what = error.args[-1]
        raise ValueError(
            f"{what!r:.100}, a {type(what).__name__}, is not plain data: text, numbers, lists, dicts"
        ) from None
    return text
