"""JSON as it comes from a master, which may be mad, and as it goes to one, which may take little at a time."""

from __future__ import annotations

import json
from typing import Any

from logs.format import compact_json

ERROR_CHARS, REASON_BYTES = 1000, 1 << 16
"""Characters that are kept of a master's reason, and bytes of the acknowledgement that it may come in."""
LARGE = 8192
"""Characters above which a message is logged as it came, even where it is no compact JSON."""
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


def reason(raw: str) -> str | None:
    """The reason in an acknowledgement `[{"error": "why"}]`; None: there is none."""
    try:
        data = loads(raw) if len(raw) <= REASON_BYTES else None
    except ValueError:
        return None
    first = data[0] if isinstance(data, list) and data else None
    error = first.get("error") if isinstance(first, dict) else None
    if error is None:
        return None
    return (error if isinstance(error, str) else compact_json(error))[:ERROR_CHARS]


def shown(event: str, args: tuple[Any, ...], raw: str) -> str | None:
    """The data of an event as compact JSON, None: it has none. What came is that already, as a rule, and to write
    it anew takes longer.
    """
    if not args:
        return None
    head = f'["{event}",'
    large = len(raw) > LARGE
    if len(args) == 1 and raw.startswith(head) and (large or not any(loose in raw for loose in " \\\n\r\t")):
        return raw[len(head) : -1]
    return raw if large else compact_json(args[0] if len(args) == 1 else list(args))
