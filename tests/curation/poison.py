"""A task that does to a worker what bad input does."""

import ctypes
import os
import time
from dataclasses import dataclass


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
