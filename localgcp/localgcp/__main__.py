"""`python -m localgcp` and the `localgcp` script."""

from __future__ import annotations

from localgcp.cli.commands import main

if __name__ == "__main__":
    main(prog_name="localgcp")
