"""Errors of stages.

StageError                a stage was used wrongly, or cannot do its work
└── MediaError            a source cannot be read; carries the typed reason
"""

from __future__ import annotations

from manifests.reasons import Reason


class StageError(Exception):
    """A stage was used wrongly, or cannot do its work."""


class MediaError(StageError):
    """A source cannot be read.

    Attributes:
        reason: typed reason.
        measured: the offending value, if there is one.
        limit: the limit it broke, if there is one.

    Args:
        uri: the source.
        reason: typed reason.
        detail: the reason in words.
        measured: the offending value.
        limit: the limit it broke.
    """

    def __init__(
        self,
        uri: str,
        reason: Reason,
        detail: str,
        *,
        measured: float | None = None,
        limit: float | None = None,
    ) -> None:
        super().__init__(uri, reason, detail, measured, limit)
        self.uri = uri
        self.reason = reason
        self.detail = detail
        self.measured = measured
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.uri}: {self.reason}: {self.detail}"
