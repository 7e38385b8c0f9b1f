"""JSON as it comes from a master, which may be mad, and as it goes to one, which may take little at a time."""

from __future__ import annotations

import json
from typing import Any

CUT_CHARS = 64
"""Characters of a value that are too few to cut."""
LONGEST_NUMBER = 4300
"""Digits of a whole number that are converted, as in Python from 3.10.7 on: a million of them take minutes."""


def _whole_number(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


_decoder = json.JSONDecoder(parse_int=_whole_number)


def loads(text: str | bytes) -> Any:
    """As json.loads, in a time that grows with the length alone. Raises ValueError, whatever is wrong."""
    try:
        return _decoder.decode(text if isinstance(text, str) else text.decode())
    except RecursionError as exc:
        raise ValueError("it is nested too deep") from exc


def first(data: bytes) -> Any:
    """The JSON value with which `data` begins, whatever follows. Raises ValueError."""
    try:
        return _decoder.raw_decode(data.decode(errors="replace"))[0]
    except RecursionError as exc:
        raise ValueError("it is nested too deep") from exc


dumps = json.dumps


def encode(data: object) -> str:
    """Compact JSON."""
    return json.dumps(data, separators=(",", ":"))


def shorten(data: dict[str, Any], limit: int) -> dict[str, Any]:
    """`data` with its longest values cut until its JSON has at most `limit` bytes, or nothing is left to cut."""
    data = dict(data)
    sizes = {key: len(encode(value)) for key, value in data.items()}
    while len(encode(data)) > limit and sizes:
        key = max(sizes, key=lambda key: sizes[key])
        size, value = sizes.pop(key), data[key]
        if isinstance(value, str) and size > CUT_CHARS:
            data[key] = value[: CUT_CHARS // 2] + "…"
        elif isinstance(value, (str, list, dict)) and size > CUT_CHARS:
            data[key] = None
        else:
            break
    return data
