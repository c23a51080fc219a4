"""What each component is told: all of it listens on loopback only, and nothing is written outside of ``directory``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NEEDS_CONTROLLERS = ("ServiceAccount", "TaintNodesByCondition")
"""Admission plug-ins that wait for a controller: for one that makes the default service account of a namespace, and one
that takes the taint of a new node away. They are off where nobody runs controllers."""


def etcd_flags(directory: Path, clients: int, peers: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    return [
        f"--data-dir={directory / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--socket-reuse-port=true",
    ]


def api_server_flags(directory: Path, etcd: int, port: int, *, controllers: bool) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        "--permit-port-sharing=true",
        f"--cert-dir={directory}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        # The key that it makes for its certificate will do for the tokens of service accounts.
        f"--service-account-key-file={directory / 'apiserver.key'}",
        f"--service-account-signing-key-file={directory / 'apiserver.key'}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
        "--enable-admission-plugins=NodeRestriction",
        *([] if controllers else [f"--disable-admission-plugins={','.join(NEEDS_CONTROLLERS)}"]),
    ]


def scheduler_configuration(kubeconfig: Path) -> dict[str, Any]:
    """A pod that has found no place is tried again after a second at the latest, where the default is up to ten."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 1000, "burst": 1000},
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 1,
    }


def scheduler_flags(configuration: Path) -> list[str]:
    return [f"--config={configuration}", "--secure-port=0"]


def controllers_flags(directory: Path, kubeconfig: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        "--secure-port=0",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        f"--service-account-private-key-file={directory / 'apiserver.key'}",
        f"--root-ca-file={directory / 'apiserver.crt'}",
    ]
