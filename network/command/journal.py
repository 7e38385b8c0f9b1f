"""Which addresses are virtual addresses, for kernels that carry no label and no lease: a file that outlives the worker."""

import json
import os
from ipaddress import IPv4Interface
from pathlib import Path

from network.base import NetworkError, Vip


class Journal:
    """The virtual addresses of one node, one JSON array in `path`. Written whole, beside and then in place of the old one,
    so that it is never half written. A file that can't be read is a NetworkError, never "no virtual addresses".
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Vip, ...]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
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
            with beside.open("w", encoding="utf-8") as file:
                json.dump(entries, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as exc:
            raise NetworkError(
                f"the journal of addresses {self._path} can't be written: {exc.strerror}"
            ) from exc
