"""`python client.py` with a wall clock that can be stepped: python -m tests.chaos.clock OFFSET [its arguments]

OFFSET is a file that holds seconds as a double, shared memory with the process that steps the clock. The monotonic clocks stay
as they are, as they do on a machine whose clock is set.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path


class Offset:
    """The offset in its file, made anew by `create`."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create:
            path.write_bytes(struct.pack("d", 0.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    def get(self) -> float:
        return struct.unpack("d", self._memory)[0]

    def set(self, seconds: float) -> None:
        self._memory[:] = struct.pack("d", seconds)


def main() -> None:
    offset = Offset(Path(sys.argv[1]))
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + offset.get()
    time.time_ns = lambda: real_ns() + int(offset.get() * 1e9)
    sys.argv = ["client.py", *sys.argv[2:]]
    runpy.run_path("client.py", run_name="__main__")


if __name__ == "__main__":
    main()
