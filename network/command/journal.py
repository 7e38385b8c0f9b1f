"""Which addresses are virtual ones, for systems whose kernel keeps no label: a file that outlives the worker."""

import json
import os
from ipaddress import IPv4Interface
from pathlib import Path

from network.base import NetworkError, Vip

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class Journal:
    """The virtual addresses of one node, a JSON array in `path`.

    It is written whole, beside the old one and then in its place, so that it is never half written, and never through a
    symbolic link. Methods raise NetworkError; a file that can't be read is never taken for an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Vip, ...]:
        try:
            with open(os.open(self._path, os.O_RDONLY | _NO_LINK), encoding="utf-8") as file:
                entries = json.load(file)
            return tuple(
                Vip(int(one["owner"]), IPv4Interface(one["ip"]), str(one["interface"])) for one in entries
            )
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise NetworkError(
                f"the journal of addresses {self._path} can't be read: {exc.strerror}"
            ) from exc
        except (ValueError, KeyError, TypeError) as exc:
            raise NetworkError(
                f"the journal of addresses {self._path} is damaged: take the addresses of other nodes off this "
                "machine, then remove the file"
            ) from exc

    def add(self, vip: Vip) -> None:
        self._write((*(one for one in self.read() if one.ip.ip != vip.ip.ip), vip))

    def remove(self, vip: Vip) -> None:
        vips = self.read()
        if vip in vips:
            self._write(tuple(one for one in vips if one != vip))

    def _write(self, vips: tuple[Vip, ...]) -> None:
        entries = [{"owner": one.owner, "ip": str(one.ip), "interface": one.interface} for one in vips]
        beside = self._path.with_name(self._path.name + ".new")
        try:
            beside.unlink(missing_ok=True)  # of a run that was killed, or a link that somebody laid
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(entries, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as exc:
            raise NetworkError(
                f"the journal of addresses {self._path} can't be written: {exc.strerror}"
            ) from exc
