"""Who may speak: one token for all, or a file that binds tokens to nodes."""

import hmac
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

from settings.files import read_text
from settings.types import InvalidValue


@dataclass(frozen=True)
class Tokens:
    """Each token with the node that it is bound to; None: it opens everything except what is bound to another.

    Where there are none everybody is let in.
    """

    entries: tuple[tuple[int | None, str], ...] = ()
    file: Path | None = None
    """Where they were read."""

    def nodes(self, shown: object) -> frozenset[int] | None:
        """The nodes that the holder of this token may speak for; None: every one that has no token of its own.

        It takes a time that does not depend on how much of the token is right. Raises PermissionError for one that is
        wrong or missing.
        """
        if not self.entries:
            return None
        text = shown.encode("utf-8", "replace") if isinstance(shown, str) else b""
        matches = [node for node, token in self.entries if hmac.compare_digest(text, token.encode())]
        if not matches:
            raise PermissionError("the token is wrong or missing")
        return frozenset(node for node in matches if node is not None) or None

    def admits(self, nodes: frozenset[int] | None, node: int) -> bool:
        """Whether somebody whose token gave `nodes` may speak for this node."""
        if nodes is None:
            return all(node != own for own, _ in self.entries)
        return node in nodes


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


def read(text: str) -> Tokens:
    """A file with lines of `TOKEN` (for all) or `NODE_ID TOKEN`; `#` begins a comment line.

    Raises InvalidValue that names the line, never a token, and OSError.
    """
    path = Path(text)
    entries: list[tuple[int | None, str]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        match line.split():
            case []:
                pass
            case [first, *_] if first.startswith("#"):
                pass
            case [token] if token.isprintable():
                entries.append((None, token))
            case [node, token] if token.isprintable() and node.isascii() and node.isdigit() and int(node) > 0:
                entries.append((int(node), token))
            case _:
                raise InvalidValue(f"its line {number} is neither")
    if not entries:
        raise InvalidValue("it contains no token")
    return Tokens(tuple(entries), path)
