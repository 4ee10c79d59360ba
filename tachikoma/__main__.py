"""The entry point. It imports as little as it can: a short command is mostly start-up."""

from __future__ import annotations

import gc
import sys

_OBJECTS = 50_000
"""Loading makes many objects and no garbage; looking for some after each 700 takes 3 ms."""


def main() -> int:
    """Run the command line in ``sys.argv`` and give the exit status."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from tachikoma.model.version import VERSION  # nothing else is needed, so nothing is loaded

        sys.stdout.write(f"tachikoma {VERSION}\n")
        return 0
    gc.set_threshold(_OBJECTS)
    try:
        from tachikoma.cli.app import run_here
    except KeyboardInterrupt:
        return 130
    return run_here(sys.argv[1:])


def makima_daemon() -> int:
    """Be the program ``makima-daemon``."""
    sys.argv[1:1] = ["makima", "daemon"]
    return main()


if __name__ == "__main__":
    sys.exit(main())
