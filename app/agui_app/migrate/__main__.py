"""`python -m agui_app.migrate`."""

from __future__ import annotations

import sys

from agui_app.migrate.command import main

if __name__ == "__main__":
    sys.exit(main())
