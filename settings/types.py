"""Value types of settings: each parses a text into one checked value, or raises InvalidValue with every reason."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any, TypeVar

DAY_S = 86400
_URL = re.compile(r"(https?)://(\[[^][]*]|[^:/?#[\]]*)(?::([0-9]{1,5}))?/?", re.ASCII | re.IGNORECASE)
_LONGEST_SHOWN = 100
_SYSTEMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}
BACKENDS = {"linux": ("netlink", "sudo"), "darwin": ("ifconfig", "sudo"), "win32": ("netsh",)}
"""The values of VIP_BACKEND that work on each system; auto and simulated work on all."""

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """One reason why a value is invalid; "" where the expected values say it all.

    `piece` is the part at fault, None: the whole value. `where` is the place of the piece.
    """

    reason: str = ""
    piece: str | None = None
    where: str = ""


class InvalidValue(Exception):
    """A value is invalid, for each of `faults`; a text is a fault of the whole value."""

    def __init__(self, *faults: Fault | str) -> None:
        super().__init__(f"{len(faults)} faults")  # not the faults themselves: a piece may be a secret
        self.faults = [Fault(fault) if isinstance(fault, str) else fault for fault in faults]


@dataclass(frozen=True)
class ValueType:
    """`expected` describes the valid values; `convert` raises InvalidValue, or what opening a file raises, for others.

    `hides` says of an invalid text whether it may be or contain a secret.
    """

    expected: str
    convert: Callable[[str], Any]
    hides: Callable[[str], bool]

    def parse(self, text: str) -> Any:
        """The value. Raises InvalidValue."""
        try:
            return self.convert(text)
        except OSError as exc:
            raise InvalidValue(exc.strerror or "it cannot be used") from None
        except (ValueError, RuntimeError):  # a NUL, a lone surrogate; a `~` without a home
            raise InvalidValue("no file can have that name") from None


def expects(
    expected: str, hides: Callable[[str], bool] = lambda _: False
) -> Callable[[Callable[[str], Any]], ValueType]:
    """Make a function that converts a text a ValueType."""
    return lambda convert: ValueType(expected, convert, hides)


def printable(text: str) -> str:
    """The text with control characters, invisible ones and lone surrogates escaped, so that it stays one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """The text in quotes, printable, and cut where it is long."""
    left_out = len(text) - _LONGEST_SHOWN
    more = f"… ({left_out} characters more)" if left_out > 0 else ""
    return f'"{printable(text[:_LONGEST_SHOWN])}"{more}'


def whole(least: int, most: int = 10**18 - 1, *, or_zero: bool = False) -> ValueType:
    """Whole numbers in plain ASCII digits."""
    reach = f" to {most}" if most < 10**18 - 1 else ", at most 18 digits"
    return _number(f"a whole number from {least}{reach}", r"[0-9]{1,18}", least, most, or_zero=or_zero)


def seconds(least: float = 0.0, *, or_zero: bool = False) -> ValueType:
    """Durations in seconds up to a day: plain decimals, without a sign or an exponent."""
    reach = f"seconds from {least:g} to {DAY_S}, such as 2 or 0.5"
    return _number(reach, r"[0-9]+(\.[0-9]+)?", least, DAY_S, or_zero=or_zero)


def _number(reach: str, pattern: str, least: float, most: float, *, or_zero: bool) -> ValueType:
    """Numbers of the type of `least`."""

    @expects(f"0 or {reach}" if or_zero else reach)
    def number(text: str) -> float:
        value = type(least)(text) if re.fullmatch(pattern, text) else -1
        if (or_zero and value == 0) or least <= value <= most:
            return value
        raise InvalidValue("")

    return number


node_number = replace(
    whole(1, 999_999_999), expected="the number of a node that NETWORK_CONFIG lists, such as 1"
)


def one_of(values: Mapping[str, object]) -> ValueType:
    """One of a few upper-case words, in upper or lower case; the value is what the word maps to."""
    *most, last = values

    @expects(f"{', '.join(most)} or {last}")
    def word(text: str) -> object:
        # some letters outside ASCII have an ASCII upper case, such as a dotless i
        if not text.isascii() or text.upper() not in values:
            raise InvalidValue("")
        return values[text.upper()]

    return word


@expects("auto, netlink, sudo, netsh, ifconfig or simulated")
def backend(text: str) -> str:
    systems = [name for system, name in _SYSTEMS.items() if text in BACKENDS[system]]
    if text in ("auto", "simulated") or text in BACKENDS.get(sys.platform, ()):
        return text
    raise InvalidValue(f"it works on {' and '.join(systems)} only" if systems else "")


@expects("the name of an interface, such as eth0")
def interface(text: str) -> str:
    """The name of an interface, whether or not it exists."""
    with suppress(UnicodeEncodeError):
        name = text.encode("utf-8", "surrogateescape")
        # An alias on Windows (IF_MAX_STRING_SIZE); an alternative name on Linux has up to 127 bytes (ALTIFNAMSIZ
        # includes a NUL), and the kernel takes 0xA0 for a space.
        windows = sys.platform == "win32" and len(text) <= 256 and text.isprintable()
        if windows or re.fullmatch(rb"(?!\.\.?$)[^/:\0\s\xa0]{1,127}", name):
            return text
    raise InvalidValue("no interface can have that name")


@expects("one line of text", hides=lambda _: True)
def secret(text: str) -> str:
    if any(c in text for c in "\0\r\n"):
        raise InvalidValue("it contains a line break or a NUL")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidValue("it is not UTF-8 text")
    return text


@expects(
    "http://HOST:PORT or https://HOST:PORT without a path, the port is optional, several with commas",
    hides=lambda text: any(mark in text for mark in "@?#"),
)
def master_urls(text: str) -> tuple[str, ...]:
    """Comma-separated URLs; the value has them in order, normalized and each once."""
    return _each(text, _master_url)


@expects("IPv4 networks such as 10.9.0.0/24, separated by commas")
def networks(text: str) -> tuple[IPv4Network, ...]:
    """Comma-separated CIDRs; the value has the networks in order and each once."""
    return _each(text, _network)


def _master_url(text: str) -> str:
    if "@" in text:
        raise InvalidValue("credentials do not belong in it; MASTER_TOKEN is for the master's secret")
    match = _URL.fullmatch(text)
    host = _host(match[2]) if match else None
    if not match or not host or not 1 <= int(match[3] or 80) <= 65535:
        raise InvalidValue("")
    return f"{match[1].lower()}://{host}" + (f":{int(match[3])}" if match[3] else "")


def _host(text: str) -> str | None:
    """The host as a URL spells it, in lower case; None: invalid (RFC 3986 §3.2.2, RFC 1123 §2.1)."""
    with suppress(ValueError):
        if text.startswith("["):
            # no zone: the HTTP libraries disagree about its spelling
            return f"[{IPv6Address(text[1:-1])}]" if "%" not in text else None
        labels = text.lower().rstrip(".").split(".") if not text.endswith("..") else [""]
        if labels[-1].isdecimal():
            return str(IPv4Address(text))
        if len(text) <= 253 and all(re.fullmatch(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", label) for label in labels):
            return text.lower()
    return None


def _network(text: str) -> IPv4Network:
    if not re.fullmatch(r"[^/]*/[0-9]{1,2}", text):
        raise InvalidValue("it has no prefix length, such as the /24 of 10.9.0.0/24")
    try:
        return IPv4Network(text)
    except ValueError as exc:
        raise InvalidValue(str(exc)) from None


def _each(text: str, convert: Callable[[str], T]) -> tuple[T, ...]:
    """Every value of a comma-separated text, each once. Raises InvalidValue with the faults of all pieces."""
    pieces = [piece.strip(" \t\r\n") for piece in text.split(",")]
    values: list[T] = []
    faults: list[Fault] = []
    for place, piece in enumerate(pieces, 1):
        try:
            values.append(convert(piece))
        except InvalidValue as invalid:
            reason = invalid.faults[0].reason if piece else "it is empty"
            faults.append(Fault(reason, piece, f"entry {place}" if len(pieces) > 1 else ""))
    if faults:
        raise InvalidValue(*faults)
    return tuple(dict.fromkeys(values))
