"""Who may speak: one token for all, or a file that binds tokens to nodes."""

import errno
import hmac
import os
import queue
import stat
import threading
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

PIPE_S = 5.0
"""For which a pipe may keep the start waiting."""


def constant_time_equal(shown: object, secret: str) -> bool:
    """Whether they are equal, in a time that does not depend on how much of `shown` is right."""
    return isinstance(shown, str) and hmac.compare_digest(shown.encode("utf-8", "replace"), secret.encode())


@dataclass(frozen=True)
class Tokens:
    """`shared` opens everything except what is bound; `bound` holds each node's own tokens."""

    shared: tuple[str, ...] = ()
    bound: tuple[tuple[int, str], ...] = ()

    @property
    def is_open(self) -> bool:
        """There are none: everybody is let in."""
        return not self.shared and not self.bound

    def nodes(self, shown: object) -> frozenset[int] | None:
        """The nodes that the holder of this token may speak for; None: every one that has no token of its own.

        Raises PermissionError for a token that is wrong or missing.
        """
        if self.is_open:
            return None
        nodes = frozenset([node for node, token in self.bound if constant_time_equal(shown, token)])
        is_shared = [constant_time_equal(shown, token) for token in self.shared]  # all, in the same time
        if any(is_shared):
            return nodes or None
        if not nodes:
            raise PermissionError("the token is wrong or missing")
        return nodes

    def admits(self, nodes: frozenset[int] | None, node: int) -> bool:
        """Whether somebody whose token gave `nodes` may speak for this node."""
        if nodes is None:
            return all(node != own for own, _ in self.bound)
        return node in nodes

    def commands(self, nodes: frozenset[int] | None, node: int) -> bool:
        """Whether they may give orders about this node: with a token for all, or its own."""
        return nodes is None or node in nodes


def from_header(value: str | None) -> str | None:
    """The token of an Authorization header: Bearer, or Basic with any user name. None: there is none."""
    scheme, _, rest = (value or "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            return None
    return None


def read_file(path: Path) -> str:
    """The text of a file, or of a pipe, which is waited for. Raises OSError, UnicodeDecodeError."""
    found: queue.SimpleQueue[str | OSError | UnicodeDecodeError] = queue.SimpleQueue()

    def wait() -> None:
        try:
            found.put(path.read_text("utf-8-sig"))
        except (OSError, UnicodeDecodeError) as exc:
            found.put(exc)

    threading.Thread(target=wait, daemon=True).start()
    try:
        text = found.get(timeout=PIPE_S)
    except queue.Empty:
        raise TimeoutError(errno.ETIMEDOUT, f"nothing came through this pipe in {PIPE_S:g} s") from None
    if isinstance(text, str):
        return text
    raise text


def read(path: Path) -> Tokens:
    """Lines of `TOKEN` (for all) or `NODE_ID TOKEN`; `#` begins a comment line.

    Raises ValueError that names file and line, never a token.
    """
    try:
        text = read_file(path)
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f"{path}: {getattr(exc, 'strerror', None) or exc}") from None
    shared, bound = [], []
    for number, line in enumerate(text.splitlines(), 1):
        match line.split():
            case []:
                pass
            case [first, *_] if first.startswith("#"):
                pass
            case [token] if token.isprintable():
                shared.append(token)
            case [node, token] if token.isprintable() and node.isascii() and node.isdigit() and int(node) > 0:
                bound.append((int(node), token))
            case _:
                raise ValueError(f"{path}, line {number}: expected TOKEN, or NODE_ID TOKEN")
    if not shared and not bound:
        raise ValueError(f"{path}: it contains no token")
    return Tokens(tuple(shared), tuple(bound))


def is_exposed(path: Path) -> bool:
    """Whether other users can read or write it."""
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP)
