"""The long form, `make chaos SEED=n`: python -m tests.chaos --help"""

from __future__ import annotations

import sys

from tests.chaos.report import main

if __name__ == "__main__":
    sys.exit(main())
