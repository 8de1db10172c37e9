"""`python -m agui_dev.authproxy` builds the Cloud SQL Auth Proxy if need be, and prints where it is."""

from __future__ import annotations

import sys

from agui_dev.authproxy.build import PROGRAM
from agui_dev.go_program import NoProgram
from agui_dev.steps import StepFailed


def main() -> int:
    """Exit code: 0 built, 1 it can't be (stderr says why)."""
    try:
        print(PROGRAM.build())
    except (NoProgram, StepFailed) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
