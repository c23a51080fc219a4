"""Giving an API server to a plug-in, in the two places where programs look for one.

Outside a cluster they read the file that ``KUBECONFIG`` names. In a pod they read an address from the environment, and
a token and the trusted certificates from the directory of their service account, which a private view can provide.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ....daemon.layout import KUBELET_ROOT
from ....errors import BadInput
from ....input.kubeconfig import SERVICE_ACCOUNT, Kubeconfig
from ....temporary_directory import temporary_directory
from .isolation import Bind
from .service_account import InCluster, in_cluster


class GivenApiServer:
    """The API server of a kubeconfig; with ``isolate`` also as a pod has it. Raises BadInput, also if the plug-in could
    not see the file because ``isolate`` or one of the ``binds`` hides it."""

    def __init__(self, kubeconfig: str, *, isolate: bool, binds: Sequence[Bind]) -> None:
        self._kubeconfig = Kubeconfig(kubeconfig)
        self._path = self._kubeconfig.paths[0]
        for path in [KUBELET_ROOT] * isolate + [bind.path for bind in binds]:
            if self._path.is_relative_to(path):
                raise BadInput(
                    f"the plug-in cannot see {self._path}: it has another {path} (--isolate, --bind). Copy "
                    "the file elsewhere",
                    file="kubeconfig",
                )
        self._account = in_cluster(self._kubeconfig) if isolate else None
        self._files = ExitStack()
        self._directory: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        given = {"KUBECONFIG": str(self._path)}
        if self._account is not None:
            given["KUBERNETES_SERVICE_HOST"] = self._account.host
            given["KUBERNETES_SERVICE_PORT"] = str(self._account.port)
        return given

    def binds(self) -> list[Bind]:
        """What a private view must contain for it. The first call creates files, which only we can read, until
        :meth:`remove`."""
        if self._account is None:
            return []
        if self._directory is None:
            self._directory = self._files.enter_context(temporary_directory("devicemgr-")) / "serviceaccount"
            self._directory.mkdir(mode=0o700)
            for name, content in _files_of(self._account).items():
                with open(self._directory / name, "xb", opener=_only_for_us) as file:
                    file.write(content)
        return [Bind(self._directory, SERVICE_ACCOUNT)]

    def remove(self) -> None:
        """Delete the files."""
        self._files.close()
        self._directory = None

    def without_secrets(self, text: str) -> str:
        return self._kubeconfig.without_secrets(text)


def _files_of(account: InCluster) -> dict[str, bytes]:
    """By name, as a kubelet creates them in a pod."""
    files = {"token": account.token.encode(), "namespace": account.namespace.encode()}
    return files if account.authority is None else files | {"ca.crt": account.authority}


def _only_for_us(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
