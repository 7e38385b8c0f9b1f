"""Which addresses are loans, for kernels that carry no mark and no lease: a file that outlives the worker."""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Interface
from pathlib import Path

from network.base import Loan, NetworkError


class Journal:
    """The loans of one node, one JSON array in `path`. Written whole, beside and then in place of the old one,
    so that it is never half written. A file that can't be read is a NetworkError, never "no loans".
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Loan, ...]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            return tuple(
                Loan(int(one["owner"]), IPv4Interface(one["ip"]), str(one["interface"])) for one in entries
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

    def note(self, loan: Loan) -> None:
        self._write((*(one for one in self.read() if one.ip.ip != loan.ip.ip), loan))

    def strike(self, loan: Loan) -> None:
        loans = self.read()
        if loan in loans:
            self._write(tuple(one for one in loans if one != loan))

    def _write(self, loans: tuple[Loan, ...]) -> None:
        entries = [{"owner": one.owner, "ip": str(one.ip), "interface": one.interface} for one in loans]
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
