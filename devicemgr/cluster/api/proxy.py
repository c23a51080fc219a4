"""Which proxy the environment names for a server, as Go reads it: HTTPS_PROXY, HTTP_PROXY and NO_PROXY. Pure.

Python reads them otherwise: it knows no networks such as 10.0.0.0/8, and no proxy without ``http://`` in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def proxy_of_environment(server: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The proxy, and the variable that names it; both are empty if there is none for this server."""
    url = urlsplit(server)
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    if _is_loopback(host) or any(_is_exempt(host, port, rule) for rule in _said("NO_PROXY", environ)[0].split(",")):
        return "", ""
    proxy, name = _said(f"{url.scheme.upper()}_PROXY", environ)
    return proxy if not proxy or "://" in proxy else f"http://{proxy}", name


def _said(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The value of the variable, in whichever case, and its name."""
    return next(((environ[one], one) for one in (name, name.lower()) if environ.get(one)), ("", ""))


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_exempt(host: str, port: int, rule: str) -> bool:
    """``rule`` is one of NO_PROXY: an address, a network, or a name, which stands for all that end with it, too."""
    rule = rule.strip().lower()
    if rule in ("", "*"):
        return rule == "*"
    try:
        network, address = ip_network(rule, strict=False), _address(host)
    except ValueError:
        return _is_named(host, port, rule)
    return address is not None and address in network


def _is_named(host: str, port: int, rule: str) -> bool:
    """By a rule that may have a port."""
    try:
        url = urlsplit(f"//{rule}")
        name, of_port = (url.hostname or "").removeprefix("*"), url.port
    except ValueError:
        return False
    is_below = host.endswith(name if name.startswith(".") else f".{name}")
    return of_port in (None, port) and (host == name or is_below)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
