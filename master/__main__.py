"""`python -m master`."""

import sys
from pathlib import Path
from shlex import quote

EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h


def _main() -> int:
    try:
        from master.cli import main

        return main()
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "master":
            raise  # not a library: a part of the master itself is missing
        requirements = Path(__file__).absolute().parents[1] / "requirements-master.txt"
        command = f"{quote(sys.executable)} -m pip install -r {quote(str(requirements))}"
        print(f"the library {exc.name} is not installed; install it with: {command}", file=sys.stderr)
        return EXIT_CONFIG


if __name__ == "__main__":
    sys.exit(_main())
