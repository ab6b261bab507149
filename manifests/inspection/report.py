"""The page of a run as one file that needs nothing else: to keep, to send on, to print.

Pictures are bounded in number and bytes. All that a run holds reaches the page as JSON in an
element that is never run; the one script is named by its digest, so that a browser runs no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from manifests.errors import StorageError
from manifests.inspection.clip_index import PENDING, ClipIndex, Query
from manifests.inspection.clip_media import ClipMedia
from manifests.inspection.histograms import histograms
from manifests.inspection.page import overview
from manifests.inspection.place import Place
from manifests.records import ClipState
from manifests.storage import Folder

REPORT_NAME = "report/index.html"
NUM_KEPT = 48
NUM_OF_REASON = 12
MAX_REJECTED = 144
MAX_PICTURE_BYTES = 6 << 20
"""Of all pictures together; the page stays below ten megabytes in base64."""

SCRIPTS = ("dom.js", "charts.js", "run.js", "report.js")


def write_report(place: Place, out: Path | None = None) -> str:
    """Write the report of a run or dataset.

    Args:
        place: The run or dataset.
        out: File to write; `report/index.html` beside the tables by default.

    Returns:
        Address of the file.

    Raises:
        StorageError: If it cannot be written.
    """
    page = report_html(place).encode()
    if out is None:
        folder = place.run or place.dataset
        assert folder is not None
        folder.write_bytes(REPORT_NAME, page)
        return folder.join(REPORT_NAME)
    folder, name = Folder.split(str(out.absolute()))
    if out.is_dir():
        raise StorageError(f"{out}: is a folder; name a file in it, such as {out / 'report.html'}")
    folder.write_bytes(name, page)
    return folder.join(name)


def report_html(place: Place, max_picture_bytes: int = MAX_PICTURE_BYTES) -> str:
    """Make the page.

    Args:
        place: The run or dataset.
        max_picture_bytes: No further picture is added once they weigh so much together.

    Returns:
        A whole HTML document.
    """
    index = ClipIndex(place)
    album = _Album(ClipMedia(place, index), index, max_picture_bytes)
    kept = album.clips(index.find(Query(state=ClipState.KEPT, order="id"))[:NUM_KEPT])
    rejected: list[dict[str, Any]] = []
    for reason, num in index.reasons().items():
        room = MAX_REJECTED - sum(len(group["clips"]) for group in rejected)
        state = ClipState.PENDING if reason == PENDING else ClipState.REJECTED
        rows = index.find(Query(state=state, reason=reason))[: min(NUM_OF_REASON, room)]
        rejected.append({"reason": reason, "num": num, "clips": album.clips(rows, reason)})
    data = {
        "run": overview(place, index),
        "histograms": histograms(index, place.gates),
        "kept": kept,
        "rejected": rejected,
    }
    script = "\n".join(asset(name) for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>talkreel</title>\n"
        f"<style>{asset('page.css')}</style>\n</head>\n<body>\n"
        "<noscript>This page draws its figures with JavaScript, which is switched off.</noscript>\n"
        f'<script type="application/json" id="data">{json_in_html(data)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def json_in_html(data: Any) -> str:
    """Write JSON so that no text in it ends the element it stands in, or begins another.

    Args:
        data: Plain values.

    Returns:
        JSON without `<`, `>` and `&`, which stand as escapes.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def asset(name: str) -> str:
    """Return a file of the page as text."""
    return (resources.files("manifests.inspection") / "assets" / name).read_text("utf-8")


class _Album:
    """Clips with their pictures, until the pictures weigh too much."""

    def __init__(self, media: ClipMedia, index: ClipIndex, max_bytes: int) -> None:
        self._media, self._index = media, index
        self._left = max_bytes

    def clips(self, rows: Any, reason: str | None = None) -> list[dict[str, Any]]:
        """Describe clips; the gate of the reason comes first."""
        shown = []
        for clip in self._index.summaries(rows):
            gates = sorted(clip["failed_gates"], key=lambda gate: gate["reason"] != reason)
            values = self._index.clip(clip["clip_id"]).values
            shown.append(
                {
                    **clip,
                    "failed_gates": gates,
                    "caption": values.get("caption.text"),
                    "picture": self._picture(clip["clip_id"]),
                }
            )
        return shown

    def _picture(self, clip_id: str) -> str | None:
        if self._left <= 0:
            return None
        data = self._media.thumbnail(clip_id)
        self._left -= len(data)
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
