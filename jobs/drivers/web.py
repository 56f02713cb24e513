"""HTTP clients for one address each, with the proxy and the certificates that this machine's variables name.

They mean what they mean to curl and to programs in Go, whose users write them: `NO_PROXY` may hold networks, IPv6 too.
"""

from __future__ import annotations

import importlib.util
import re
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import httpx

from jobs.errors import SettingError

_WRITE_IT_AS = "Write it as http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy that stands between here and an address."""

    variable: str
    """The variable that names it."""
    shown: str
    """Its host and port, without what is secret."""
    url: str = field(repr=False)
    """Its address, with what is secret."""


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy that this machine's variables name for an address; None where it is reached directly.

    Raise `SettingError`, which shows no password, for a proxy that cannot be used.
    """
    parts, named = urlsplit(url), getproxies_environment()
    scheme = parts.scheme if named.get(parts.scheme) else "all"
    text, host = named.get(scheme, "").strip(), parts.hostname or ""
    if not text or _is_direct(host, parts.port or (443 if parts.scheme == "https" else 80), named.get("no", "")):
        return None
    variable = f"{scheme.upper()}_PROXY"
    text = text if "://" in text else f"http://{text}"
    try:
        proxy = urlsplit(text)
        shown = f"{proxy.hostname or ''}{'' if proxy.port is None else f':{proxy.port}'}"
    except ValueError:
        raise SettingError(f"{variable} is not the address of a proxy", _WRITE_IT_AS) from None
    except_it = f"{_WRITE_IT_AS}, or add {host} to NO_PROXY"
    if proxy.scheme not in ("http", "https", "socks5", "socks5h"):
        raise SettingError(f"{variable} begins with {proxy.scheme}://, which is no proxy that can be used", except_it)
    if not proxy.hostname:
        raise SettingError(f"{variable} names no host", except_it)
    if proxy.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise SettingError(
            f"{variable} names a SOCKS proxy, and the library for it is not installed",
            f"Install litellm-lago-reconcile[socks], or add {host} to NO_PROXY",
        )
    return Proxy(variable, shown, text)


def trusted() -> ssl.SSLContext:
    """Return what is trusted in TLS: SSL_CERT_FILE or SSL_CERT_DIR, else the public authorities.

    Raise `SettingError` for a file that cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        reason = "holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingError(
            f"the file that SSL_CERT_FILE names cannot be used: {reason}",
            "Let SSL_CERT_FILE name a file of PEM certificates, or unset it",
        ) from error


def open_client(url: str, *, verify: ssl.SSLContext | None = None, **options: Any) -> tuple[httpx.Client, Proxy | None]:
    """Return a client for what is below this address, and the proxy that it goes through, if any.

    Without `verify` it trusts what `trusted` says. Raise `SettingError` as `proxy_for` and `trusted` do.
    """
    proxy = proxy_for(url)
    through: httpx.Proxy | None = None
    if proxy is not None:
        through = httpx.Proxy(proxy.url, ssl_context=trusted() if proxy.url.lower().startswith("https:") else None)
    client = httpx.Client(verify=verify or trusted(), proxy=through, trust_env=False, **options)
    return client, proxy


def _is_direct(host: str, port: int, excepted: str) -> bool:
    """Tell whether NO_PROXY excepts a host: by name, as part of a domain, by address or by network."""
    return any(_excepts(entry, host.lower(), port) for entry in re.split(r"[,\s]+", excepted.lower()) if entry)


def _excepts(entry: str, host: str, port: int) -> bool:
    with_port = re.fullmatch(r"(\[.*\]|[^:]*):([0-9]+)", entry)
    if with_port:
        entry = with_port.group(1)
        if int(with_port.group(2)) != port:
            return False
    entry = entry.replace("[", "").replace("]", "")
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        domain = entry.lstrip("*").lstrip(".")
        return not domain or host == domain or host.endswith(f".{domain}")
    try:
        return ip_address(host.partition("%")[0]) in network
    except ValueError:
        return False
