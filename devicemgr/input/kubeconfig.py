"""Kubeconfig files: which API server a context names, and who one is there.

Several files are read as one, by the rules of kubectl: of two contexts, clusters or users with one name the first
counts, as a whole, and so does the first current context. A path is relative to the file that it is in.

No error quotes a file: it contains secrets, and errors end up in public logs.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput
from .yaml_fields import Field, load_documents

HIDDEN = "[hidden]"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has what others have in a kubeconfig."""
_SECRET = {"token", "password", "client-key-data", "id-token", "refresh-token", "access-token", "client-secret"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A context, a cluster or a user. Whatever cannot be read raises BadInput, with file, line and field."""

    place: Field
    """What named it, for errors about what is not there."""
    fields: Mapping[str, Field]
    directory: Path
    """That of its file."""

    def text(self, name: str) -> str:
        """The text of a field; empty if there is none."""
        return _text(self.fields, name)

    def is_set(self, name: str) -> bool:
        """A field that is true or false."""
        said = self.text(name).lower()
        if said not in ("", "true", "false"):
            raise bad(self.fields[name], "must be true or false")
        return said == "true"

    def texts(self, name: str) -> list[str]:
        """The texts of a list; none if it is not there."""
        return [_single(one) for one in self._items(name)]

    def inside(self, name: str) -> Entry:
        """A field that is itself a mapping."""
        return Entry(self.fields[name], _mapping(self.fields[name]), self.directory)

    def entries(self, name: str) -> list[Entry]:
        """A list of mappings; empty if it is not there."""
        return [Entry(one, _mapping(one), self.directory) for one in self._items(name)]

    def plain(self, name: str) -> Any:
        """Whatever is there, as JSON has it."""
        try:
            return self.fields[name].plain()
        except BadInput as error:
            raise BadInput(str(error), file="kubeconfig") from None

    def _items(self, name: str) -> list[Field]:
        return _items(self.fields[name]) if name in self.fields else []

    def data(self, name: str) -> bytes | None:
        """What ``NAME-data`` has as base64, or else the file that ``NAME`` is."""
        if said := self.text(f"{name}-data"):
            try:
                return base64.b64decode("".join(said.split()), validate=True)
            except ValueError:
                raise bad(self.fields[f"{name}-data"], "is not base64") from None
        return self.contents(name) if self.text(name) else None

    def contents(self, name: str) -> bytes:
        """The contents of the file that the field names."""
        try:
            return (self.directory / self.text(name)).read_bytes()
        except OSError as error:
            raise bad(self.fields[name], f"that file cannot be read: {error.strerror}") from error
        except ValueError:
            raise bad(self.fields[name], "there is no file of that name") from None


class Kubeconfig:
    """The files at ``paths``, and of them one context: that of this name, or else the current one.

    Raises BadInput for a file that is none, and if there is no such context. Every error begins with ``kubeconfig``,
    followed by file, line and field.
    """

    def __init__(self, *paths: str | Path, context: str = "") -> None:
        self.paths = [Path(os.path.expanduser(path)).absolute() for path in paths]
        # Of several files one may be empty: kubectl makes such.
        read = ((path, _document_of(path, may_be_empty=len(paths) > 1)) for path in self.paths)
        self._documents = [(path, document) for path, document in read if document is not None]
        self.context = self._find("context", context, named_by=None) if context else self._current_context()
        self._secrets = sorted(set(self._secret_texts()), key=len, reverse=True)

    @property
    def namespace(self) -> str:
        return self.context.text("namespace") or "default"

    def cluster(self) -> Entry:
        """That of the context. Raises BadInput if it names none."""
        return self._of_context("cluster")

    def user(self) -> Entry:
        """That of the context. Raises BadInput if it names none."""
        return self._of_context("user")

    def without_secrets(self, text: str) -> str:
        """``text`` with each secret of the files replaced."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def _current_context(self) -> Entry:
        for _, document in self._documents:
            if name := _text(fields := _mapping(document), "current-context"):
                return self._find("context", name, named_by=fields["current-context"])
        problem = "has no current-context: kubectl config use-context NAME sets it"
        if not self._documents:
            raise BadInput(f"{self._files} {problem}", file="kubeconfig")
        raise bad(self._documents[0][1], problem)

    def _of_context(self, kind: str) -> Entry:
        if not (name := self.context.text(kind)):
            raise bad(self.context.place, f"the context names no {kind}")
        return self._find(kind, name, named_by=self.context.fields[kind])

    def _find(self, kind: str, name: str, *, named_by: Field | None) -> Entry:
        for path, document in self._documents:
            found = _mapping(document).get(f"{kind}s")
            for one in _items(found) if found is not None else ():
                fields = _mapping(one)
                if _text(fields, "name") == name:
                    inside = _mapping(fields[kind]) if kind in fields else {}
                    return Entry(named_by or one, inside, path.parent)
        if named_by is None:  # it comes from a command line, so it is no secret
            there_are = "kubectl config get-contexts lists those that there are"
            raise BadInput(f"there is no context {name} in {self._files}: {there_are}", file="kubeconfig")
        where = "this file" if len(self._documents) == 1 else "any of the files"
        raise bad(named_by, f"there is no {kind} of that name in {where}")

    @property
    def _files(self) -> str:
        return ", ".join(map(str, self.paths))

    def _secret_texts(self) -> Iterator[str]:
        """Those of all users, not only of the one that is used."""
        for path, document in self._documents:
            users = _mapping(document).get("users")
            for one in users.within() if users is not None else ():
                if one.is_text and (text := one.text().strip()):
                    *above, name = one.path.split(".")
                    if name in _SECRET or (name == "value" and above[-1].startswith("env[")):
                        yield text
                    if name == "tokenFile" and (token := _contents_if_there(path.parent / text)):
                        yield token


def bad(place: Field, problem: str) -> BadInput:
    """An error of a field of a kubeconfig."""
    return BadInput(str(place.bad(problem)), file="kubeconfig")


def _contents_if_there(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except (OSError, ValueError):  # a path may have any character
        return ""


def _document_of(path: Path, *, may_be_empty: bool) -> Field | None:
    """The one document of the file. Raises BadInput."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # not a pipe either: it may be read more than once
            raise BadInput(f"{path} is not a file", file="kubeconfig")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"there is no {path}", file="kubeconfig") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", file="kubeconfig") from error
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text", file="kubeconfig") from None
    try:
        documents = load_documents(text, file=str(path))
    except BadInput as error:  # without its text, which may quote the file
        place = path if error.line is None else f"{path}:{error.line}"
        raise BadInput(f"{place}: this is not valid YAML", file="kubeconfig") from None
    if not documents and may_be_empty:
        return None
    if len(documents) != 1:
        raise BadInput(f"{path} must have one document, not {len(documents)}", file="kubeconfig")
    return documents[0]


def _mapping(value: Field) -> Mapping[str, Field]:
    if not value.is_mapping:
        raise bad(value, "must be a mapping")
    try:
        return value.mapping()
    except BadInput as error:  # a key that appears twice
        raise BadInput(str(error), file="kubeconfig") from None


def _items(value: Field) -> list[Field]:
    if not value.is_list:
        raise bad(value, "must be a list")
    return value.sequence()


def _text(fields: Mapping[str, Field], name: str) -> str:
    return _single(fields[name]) if name in fields else ""


def _single(value: Field) -> str:
    if not value.is_text:
        raise bad(value, "must be a single value")
    return value.text()
