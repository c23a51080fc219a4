"""TLS as Go has it, since a kubeconfig that is good for kubectl has to be good here."""

from __future__ import annotations

import os
import ssl

from .connection import ClientCertificate, Connection


def tls_context(connection: Connection, certificate: ClientCertificate | None) -> ssl.SSLContext:
    """Raises ssl.SSLError for certificates and keys that cannot be used."""
    authority = None if connection.authority is None else connection.authority.decode("ascii", errors="replace")
    context = ssl.create_default_context(cadata=authority)
    # Python 3.13 asks for extensions that Go does not, and that the authorities of many clusters do not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # A certificate that is given as trusted is trusted, whether it is an authority's or not, as in Go and in 3.13.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if connection.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        _load(context, certificate)
    return context


def check_certificate(certificate: ClientCertificate) -> None:
    """Raises ssl.SSLError if it and its key cannot be used together."""
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)


def _load(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    """OpenSSL wants a file; this one is in memory, and nobody else has it."""
    with open(os.memfd_create("client-certificate"), "wb") as file:
        file.write(certificate.certificate + b"\n" + certificate.key)
        file.flush()
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=lambda: "")
