"""A system's own commands: argument lists, never a shell, under a time limit, in the C locale."""

import os
import subprocess
from collections.abc import Sequence
from typing import Protocol

from network.base import NetworkError

_LIMIT_S = 5.0
_SECRETS = {"PASSWORD", "MASTER_TOKEN"}


class Run(Protocol):
    def __call__(self, argv: Sequence[str], accept: tuple[int, ...] = (0,), /) -> str: ...


def run(argv: Sequence[str], accept: tuple[int, ...] = (0,)) -> str:
    """What the command prints. NetworkError with what it said where it ends with an exit code that is not
    accepted, is missing or takes over 5 s.
    """
    env = {name: value for name, value in os.environ.items() if name not in _SECRETS} | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise NetworkError(f"{argv[0]} took longer than {_LIMIT_S:.0f} s") from exc
    except OSError as exc:
        raise NetworkError(f"{argv[0]} could not be run: {exc.strerror}") from exc
    out = done.stdout.decode(errors="replace")
    if done.returncode not in accept:
        said = " ".join((done.stderr.decode(errors="replace") + " " + out).split())
        raise NetworkError(f"{argv[0]} failed with {done.returncode}: {said[:300]}")
    return out
