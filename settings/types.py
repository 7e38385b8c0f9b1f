"""What each kind of setting may hold: one checked value out of one text, or every reason why not."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Optional, TypeVar

_LONGEST_WAIT_S = 86400
_LONGEST_SHOWN = 100

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """One reason why a value is refused; "" where what it may hold says it all.

    `piece` is the part at fault, None: the whole value. `where` says where the piece stands. A `hidden` one may
    be a secret, or hold one, and is not to be shown.
    """

    reason: str = ""
    piece: Optional[str] = None
    where: str = ""
    hidden: bool = False


class UnfitError(Exception):
    """A value is refused, for each of `faults`."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(f"{len(faults)} faults")  # not the faults themselves: a piece may be a secret
        self.faults = faults


@dataclass(frozen=True)
class Kind:
    """A kind of value: what it may hold, in words, and `parse`, which raises UnfitError for anything else.

    A `secret` kind's text is taken as it stands; around all others blanks are cut off first.
    """

    may_hold: str
    parse: Callable[[str], object]
    secret: bool = False


def printable(text: str) -> str:
    """The text with control characters, invisible ones and lone surrogates escaped, so that it stays one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: str) -> str:
    """The text in quotes, printable, and cut where it is long."""
    left_out = len(text) - _LONGEST_SHOWN
    return f'"{printable(text[:_LONGEST_SHOWN])}"' + (
        f"… ({left_out} characters more)" if left_out > 0 else ""
    )


def whole(least: int, most: Optional[int] = None, *, or_zero: bool = False) -> Kind:
    """Whole numbers in plain ASCII digits; `most` None: as large as 18 digits can say."""
    reach = f"a whole number from {least}" + (f" to {most}" if most else ", at most 18 digits long")

    def parse(text: str) -> int:
        value = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else -1
        if not (or_zero and value == 0) and not least <= value <= (most or value):
            raise UnfitError(Fault())
        return value

    return Kind(f"0 or {reach}" if or_zero else reach, parse)


def seconds(least: float = 0.0, *, or_zero: bool = False) -> Kind:
    """Durations in seconds up to a day: plain decimals, without a sign or an exponent."""
    reach = f"seconds from {least:g} to {_LONGEST_WAIT_S}, such as 2 or 0.5"

    def parse(text: str) -> float:
        value = float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else -1.0
        if not (or_zero and value == 0) and not least <= value <= _LONGEST_WAIT_S:
            raise UnfitError(Fault())
        return value

    return Kind(f"0 or {reach}" if or_zero else reach, parse)


def one_of(values: Mapping[str, object]) -> Kind:
    """One of a few words, in upper case or lower; the value is what the word stands for."""
    by_word = {word.upper(): value for word, value in values.items()}

    def parse(text: str) -> object:
        # Some letters outside ASCII become ASCII ones in upper case, such as a dotless i.
        if not text.isascii() or text.upper() not in by_word:
            raise UnfitError(Fault())
        return by_word[text.upper()]

    return Kind(_either(values), parse)


def backend() -> Kind:
    """The name of a backend that this platform can have."""
    return Kind(_either(_BACKENDS), _backend)


def interface() -> Kind:
    """A name that an interface can have; whether one has it is not asked."""
    return Kind("the name of an interface, such as eth0", _interface)


def master_urls() -> Kind:
    """Comma-separated URLs; the value has them in order, in one spelling and each once."""

    def parse(text: str) -> tuple[str, ...]:
        # A password may have a comma in it, so where one may stand no piece is fit to be shown.
        return _each(text, _master_url, hidden=any(mark in text for mark in "@?#"))

    return Kind(
        "http://HOST:PORT or https://HOST:PORT (the port may be left out), several with commas", parse
    )


def networks() -> Kind:
    """Comma-separated CIDRs; the value has the networks in order and each once."""
    return Kind("IPv4 networks such as 10.9.0.0/24, several with commas", lambda text: _each(text, _network))


def secret() -> Kind:
    return Kind("one line of text", _secret, secret=True)


def _secret(text: str) -> str:
    if any(c in text for c in "\0\r\n"):
        raise UnfitError(Fault("it has a line break or a NUL in it", hidden=True))
    with suppress(UnicodeEncodeError):
        text.encode()
        return text
    raise UnfitError(Fault("it is not UTF-8 text", hidden=True))


_SYSTEMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}
_BACKENDS: Mapping[str, Sequence[str]] = {
    "auto": (),
    "netlink": ("linux",),
    "sudo": ("linux", "darwin"),
    "netsh": ("win32",),
    "ifconfig": ("darwin",),
    "simulated": (),
}
"""Where each works; an empty one works everywhere."""


def _backend(text: str) -> str:
    if text not in _BACKENDS:
        raise UnfitError(Fault())
    systems = _BACKENDS[text]
    if systems and sys.platform not in systems:
        raise UnfitError(Fault(f"it works on {' and '.join(_SYSTEMS[name] for name in systems)} only"))
    return text


def _interface(text: str) -> str:
    if _can_name_an_interface(text, sys.platform):
        return text
    raise UnfitError(Fault("no interface can be called that"))


def _can_name_an_interface(text: str, platform: str) -> bool:
    if platform == "win32":  # an alias, which may have spaces; IF_MAX_STRING_SIZE
        return len(text) <= 256 and text.isprintable()
    with suppress(UnicodeEncodeError):
        name = text.encode("utf-8", "surrogateescape")
        # IFNAMSIZ has a NUL in it; the kernel's dev_valid_name takes 0xA0 for a space and refuses a colon.
        return len(name) <= 15 and name not in {b".", b".."} and not set(name) & set(b"/:\0 \t\n\v\f\r\xa0")
    return False


def _master_url(text: str) -> str:
    if "@" in text:
        raise UnfitError(Fault("credentials do not belong in it; MASTER_TOKEN is for the master's secret"))
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise UnfitError(Fault("it has no scheme, http:// or https://"))
    if scheme.lower() not in {"http", "https"}:
        raise UnfitError(Fault("its scheme is neither http nor https"))
    if "?" in rest or "#" in rest:
        raise UnfitError(Fault("it has a query or a fragment"))
    authority, _, path = rest.partition("/")
    if path:
        raise UnfitError(Fault("it has a path"))
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?", authority)
    host = _host(match[1]) if match else None
    if match is None or host is None:
        raise UnfitError(Fault("its host is neither a name nor an address (an IPv6 one stands in brackets)"))
    if match[2] is None:
        return f"{scheme.lower()}://{host}"
    if not re.fullmatch("[0-9]{1,5}", match[2]) or not 1 <= int(match[2]) <= 65535:
        raise UnfitError(Fault("its port is no number from 1 to 65535"))
    return f"{scheme.lower()}://{host}:{int(match[2])}"


def _host(text: str) -> Optional[str]:
    """The host as a URL spells it, in lower case; None: it can be none (RFC 3986 §3.2.2, RFC 1123 §2.1)."""
    with suppress(ValueError):
        if text.startswith("["):
            # A zone is left out of what is accepted: the HTTP libraries disagree about its spelling.
            return f"[{IPv6Address(text[1:-1])}]" if "%" not in text else None
        labels = text.lower().rstrip(".").split(".") if not text.endswith("..") else [""]
        if labels[-1].isdecimal():
            return str(IPv4Address(text))
        if len(text) <= 253 and all(re.fullmatch(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", label) for label in labels):
            return text.lower()
    return None


def _network(text: str) -> IPv4Network:
    if not re.fullmatch(r"[^/]*/[0-9]{1,2}", text):
        raise UnfitError(Fault("it has no prefix length, such as the /24 of 10.9.0.0/24"))
    with suppress(ValueError):
        meant = IPv4Network(text, strict=False)
        if meant.network_address == IPv4Address(text.partition("/")[0]):
            return meant
        raise UnfitError(Fault(f"it has bits set beyond its prefix; {meant} was probably meant"))
    raise UnfitError(Fault("it is no IPv4 network"))


def _each(text: str, parse: Callable[[str], T], *, hidden: bool = False) -> tuple[T, ...]:
    """Every value of a comma-separated text, each once. Raises UnfitError with the faults of all pieces."""
    pieces = [piece.strip(" \t\r\n") for piece in text.split(",")]
    values: list[T] = []
    faults: list[Fault] = []
    for place, piece in enumerate(pieces, 1):
        try:
            values.append(parse(piece))
        except UnfitError as unfit:
            where = f"entry {place}" if len(pieces) > 1 else ""
            reason = unfit.faults[0].reason if piece else "it is empty"
            faults.append(Fault(reason, piece, where, hidden))
    if faults:
        raise UnfitError(*faults)
    return tuple(dict.fromkeys(values))


def _either(words: Mapping[str, object]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"
