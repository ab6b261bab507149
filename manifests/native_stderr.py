"""Native libraries that talk on stderr whatever they are told.

MediaPipe 0.10.14 announces each network that it starts; neither ``GLOG_minloglevel`` nor
``TF_CPP_MIN_LOG_LEVEL`` keeps it from that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unheard() -> Iterator[None]:
    """Point the process's stderr at nothing for as long as the block lasts.

    For the start of a library only: what fails inside has to raise, as nobody hears it.

    Yields:
        Nothing.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (AttributeError, OSError):  # there is no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
