"""HTTP proxies of the environment: which one serves a master, and what may be said of it in a log."""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from requests.utils import get_environ_proxies, select_proxy

HTTP_PORT = 80


@dataclass(frozen=True)
class Proxy:
    """One proxy. `authorization` is the value of a Proxy-Authorization header, None: it wants none."""

    scheme: str
    host: str
    port: int
    authorization: str | None

    def __str__(self) -> str:
        """Its URL, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def proxy_of(url: str) -> Proxy | None:
    """The proxy that the environment names for `url`, None: it is reached directly."""
    named = select_proxy(url, get_environ_proxies(url))
    return parse_proxy(named) if named else None


def parse_proxy(text: str) -> Proxy:
    """A proxy as the environment names it: the scheme may be missing, a password may contain `/`, `#`, `?` and `@`."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "http", text.strip()
    credentials, _, place = rest.rpartition("@")
    host, port = re.match(r"(\[[^]]*\]|[^:/?#]*)(?::(\d{1,5}))?", place).groups()  # type: ignore[union-attr]
    authorization = None
    if credentials:
        user, _, password = credentials.partition(":")
        plain = f"{unquote(user)}:{unquote(password)}".encode()
        authorization = f"Basic {base64.b64encode(plain).decode()}"
    return Proxy(scheme.lower(), host.strip("[]"), int(port or HTTP_PORT), authorization)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine and no other."""
    name = host.lower().rstrip(".")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def exposure(url: str) -> str | None:
    """Why what is said to this master can be read on the way, None: it cannot."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return None
    proxy = proxy_of(url)
    if proxy and not is_loopback(proxy.host):
        return f"plain http through the proxy {proxy}"
    if is_loopback(parts.hostname or ""):
        return None
    return "plain http to another machine"
