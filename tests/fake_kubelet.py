"""The PodResources API of a kubelet that answers as it is told, on grpcio."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

LIST, ALLOCATABLE = "/v1.PodResourcesLister/List", "/v1.PodResourcesLister/GetAllocatableResources"
OLD_LIST = "/v1alpha1.PodResourcesLister/List"
LIMITED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")


class FakeKubelet(grpc.GenericRpcHandler):
    """``answers`` has, by method, what it answers: a message, or a status with its text; or a list of these, of which
    the last one holds from then on. Other methods are not implemented."""

    def __init__(self, answers):
        self.answers = answers
        self.calls = Counter()

    def service(self, details):
        def answer(request, context):
            told = self.answers[details.method]
            self.calls[details.method] += 1
            if isinstance(told, list):
                told = told[min(self.calls[details.method], len(told)) - 1]
            if isinstance(told, tuple):
                context.abort(*told)
            return bytes(told)

        return grpc.unary_unary_rpc_method_handler(answer) if details.method in self.answers else None


@contextmanager
def fake_kubelet(socket: Path, answers):
    kubelet = FakeKubelet(answers)
    with ThreadPoolExecutor() as threads:
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        server = grpc.server(threads, handlers=[kubelet], options=options)
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        try:
            yield kubelet
        finally:
            server.stop(None).wait()
