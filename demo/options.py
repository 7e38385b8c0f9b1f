"""The command line of the bundled master."""

from __future__ import annotations

import argparse
import math
from typing import Optional
from urllib.parse import urlsplit


def parse(arguments: Optional[list[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m demo.master", description="A master for demos, tests and a first cluster."
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=5000, help="0: a free one (default: %(default)s)")
    parser.add_argument(
        "--token", type=_token, help="what workers must show as MASTER_TOKEN (default: nothing)"
    )
    parser.add_argument(
        "--dead-after",
        type=_seconds,
        default=5,
        metavar="S",
        help="a node silent for S seconds is dead (default: 5)",
    )
    parser.add_argument(
        "--order-timeout", type=_seconds, default=40, metavar="S",
        help="a neighbour may take S seconds to answer an order; more than the workers' CONFLICT_WAIT (default: 40)",
    )  # fmt: skip
    parser.add_argument(
        "--redis", type=_redis, metavar="URL",
        help="where several masters keep their state together, such as redis://HOST:6379/0 (default: in memory, alone)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.02 <= value <= 86400:  # nan is not either
        raise argparse.ArgumentTypeError(f"{text!r} is not from 0.02 to 86400 seconds")
    return value


def _port(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 0 to 65535")
    return value


def _token(text: str) -> str:
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError("it is empty or holds a character that cannot be shown")
    return text


def _redis(text: str) -> str:
    """It may hold a password, so what is wrong with it is said without it."""
    try:
        scheme, port = urlsplit(text).scheme, urlsplit(text).port
    except ValueError:
        scheme, port = "", None
    if scheme not in ("redis", "rediss", "unix") or port == 0:
        raise argparse.ArgumentTypeError(
            "it is none of redis://HOST:PORT/DB, rediss://HOST:PORT/DB (TLS) and unix:///PATH?db=DB"
        )
    return text
