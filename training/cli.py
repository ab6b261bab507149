"""The ``talk`` command: the door to training and generation, which later releases furnish."""

from __future__ import annotations

import sys


def main() -> None:
    """Say what is not there yet, and where the data already is; exit code 2."""
    print(
        "talk: this release curates data and does not train yet; "
        "datasets made by `curate run` open with the plain webdataset package",
        file=sys.stderr,
    )
    sys.exit(2)
