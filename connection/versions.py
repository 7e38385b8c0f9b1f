"""Whether the installed libraries are those that this worker works with."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

LOWEST = {
    "python-socketio": "5.12.0",
    "python-engineio": "4.11.0",
    "requests": "2.31.0",
    "websocket-client": "1.5.2",
    "python-dotenv": "1.0.1",
}
"""The lowest version of each with which the tests passed, as in requirements.in."""
OF_2020 = {**LOWEST, "python-socketio": "4.6.1", "python-engineio": "3.14.2"}
"""As in requirements-eio3.in, for masters that speak Engine.IO v3."""


def libraries_fault() -> str | None:
    """What is wrong with the installed libraries, in words; None: nothing. Imports none of them."""
    try:
        installed = {name: version(name) for name in LOWEST}
    except PackageNotFoundError as exc:
        return f"{exc.name} is not installed"
    of_2020 = _parts(installed["python-socketio"]) < (5,)
    for name, lowest in (OF_2020 if of_2020 else LOWEST).items():
        found = installed[name]
        if _parts(found) < _parts(lowest):
            return f"{name} {found} is too old, this worker needs {lowest} or newer"
        if of_2020 and lowest != LOWEST[name] and _parts(found)[0] != _parts(lowest)[0]:
            return f"{name} {found} does not go with python-socketio 4; requirements-eio3.txt has what does"
    return None


def _parts(text: str) -> tuple[int, ...]:
    """The numbers with which a version begins (PEP 440's release segment)."""
    release = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, release[0].split("."))) if release else ()
