"""An API server that has a few objects, for whoever brings the token, over TLS; and a kubeconfig that names it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FILES = Path(__file__).parent / "files" / "api_server"
TOKEN = "a-token-that-nobody-may-see"


class _Answering(BaseHTTPRequestHandler):
    def __init__(self, objects: Mapping[str, Any], *args: Any) -> None:
        self._objects = objects
        super().__init__(*args)

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.send_error(401)
        elif self.path not in self._objects:
            self.send_error(404)
        else:
            body = json.dumps(self._objects[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@contextmanager
def api_server(objects: Mapping[str, Any], kubeconfig: Path, *, namespace: str = "default") -> Iterator[None]:
    """Within, ``objects`` are had by their paths, with the one context of the file ``kubeconfig``, which is written."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Answering, objects))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FILES / "cert.pem", FILES / "key.pem")
    # The handshake is made by the thread of each connection: one that is only opened holds nobody up.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        address = f"https://127.0.0.1:{server.server_port}"
        kubeconfig.write_text(json.dumps(_config(address, namespace)))
        yield
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def _config(address: str, namespace: str) -> dict[str, Any]:
    cluster = {"server": address, "certificate-authority": str(FILES / "cert.pem")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
    }
