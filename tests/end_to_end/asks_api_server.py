"""A device plug-in that looks a pod up before it answers Allocate, as those do that share a device between pods.

It finds the API server as client-go does: in a pod by the environment and the files of the service account, else by
the kubeconfig that KUBECONFIG names. Its token is in what it writes, in its answers and in its errors.
"""

from __future__ import annotations

import os
import ssl
import sys
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import trio
import yaml

from devicemgr.errors import RpcFailed
from devicemgr.testing import open_simulated_plugin

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def in_cluster():
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if not host or not port:
        raise RpcFailed("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined")
    for file in (ACCOUNT, *ACCOUNT.iterdir()):
        print(f"{file.name}: {file.stat().st_mode & 0o777:o}")
    token, namespace = ((ACCOUNT / name).read_text() for name in ("token", "namespace"))
    return f"https://{host}:{port}", token, namespace, (ACCOUNT / "ca.crt").read_text()


def by_kubeconfig():
    if "KUBECONFIG" not in os.environ:
        raise RpcFailed("invalid configuration: no configuration has been provided")
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    (cluster,), (user,), (context,) = (config[kind] for kind in ("clusters", "users", "contexts"))
    authority = Path(cluster["cluster"]["certificate-authority"]).read_text()
    return cluster["cluster"]["server"], user["user"]["token"], context["context"]["namespace"], authority


def look_up(find):
    server, token, namespace, authority = find()
    print(f"Authorization: Bearer {token}", flush=True)
    url = f"{server}/api/v1/namespaces/{namespace}/pods/pending"
    context = ssl.create_default_context(cadata=authority)
    os.environ["TOKEN"] = token
    with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), context=context, timeout=10) as answer:
        answer.read()


async def main(directory, find):
    async with open_simulated_plugin(Path(directory), "vendor.com/gpu", devices=2) as plugin:
        usual = plugin.on_allocate

        async def answer(ids):
            try:
                await trio.to_thread.run_sync(look_up, find)
            except OSError as error:
                raise RpcFailed(f"API server: {error} for {os.environ['TOKEN']}") from error
            return replace(await usual(ids), envs={"TOKEN": os.environ["TOKEN"]})

        plugin.on_allocate = answer
        await plugin.keep_registered()


trio.run(main, sys.argv[1], in_cluster if sys.argv[2] == "in-cluster" else by_kubeconfig)
