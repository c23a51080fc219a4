"""Bearer tokens. Pure."""

from __future__ import annotations


def header_of_token(token: str) -> tuple[str, str]:
    """Raises ValueError for one that cannot be sent, which the error does not quote."""
    token = token.strip()
    if not token:
        raise ValueError("has no token in it")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("has characters that no token has")
    return ("Authorization", f"Bearer {token}")
