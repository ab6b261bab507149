"""A task that does to a worker what bad input does."""

import ctypes
import os
import time
from dataclasses import dataclass

from curation.engine import HandOver


@dataclass(frozen=True)
class Poison:
    """Squares numbers; some payloads kill, hang or raise."""

    def open(self):
        return self

    def close(self):
        pass

    def __call__(self, payload):
        if payload == "raise":
            raise ValueError("bad row")
        if payload == "exit":
            os._exit(3)
        if payload == "segfault":
            ctypes.string_at(0)
        if payload == "hang":
            time.sleep(600)
        return payload * payload


@dataclass(frozen=True)
class Sort:
    """Ends odd numbers and hands everything else over to a second task."""

    def open(self):
        return self

    def close(self):
        pass

    def __call__(self, payload):
        return "odd" if isinstance(payload, int) and payload % 2 else HandOver(payload)
