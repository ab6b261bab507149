"""What is missing: every metric that no clip has, with the reason and the way to get it."""

from __future__ import annotations

from training.evaluation.metrics import METRICS, Missing
from training.evaluation.results import Results
from training.evaluation.weights import NEEDED_BY, Shelf, how_to_get

_OF_PAIRS = (
    "mouth_landmark_distance",
    "mouth_opening_correlation",
    "psnr_db",
    "ssim",
    "lpips",
    "fid",
    "fvd",
)
_NO_REFERENCE = (
    "no generated clip has a reference",
    "give --reference DIR with files of the same stems",
)
_NO_WINDOWS = (
    "the windows of the generation are not known, or no clip is longer than one",
    "write STEM.json ('windows') beside each clip, or give --window-frames and --overlap-frames",
)
_NO_REGION = (
    "no clip has an edit region beside it and a source video to compare with",
    "`talk edit` writes what is needed; of others, write STEM.region.npz (array 'region') beside "
    "each clip and give --source DIR",
)
_NO_SYNCNET = (
    "SyncNet did not measure these clips",
    "see the column 'syncnet.problem' in clips.parquet of the curation run",
)
_NO_FIGURE = ("no clip gave a figure", "see 'unmeasured' and 'notes' of the clips")


def missing_of(results: Results, shelf: Shelf) -> list[Missing]:
    """List the metrics that no clip has.

    Args:
        results: the evaluation so far.
        shelf: weights there are.

    Returns:
        One entry a metric, in the order of the list of metrics.
    """
    had = {name for clip in results.clips for name in clip.values} | set(results.of_set)
    why = {
        "seam_ratio": _NO_WINDOWS,
        "outside_psnr_db": _NO_REGION,
        "outside_ssim": _NO_REGION,
        "sync_c": _NO_SYNCNET,
        "sync_d": _NO_SYNCNET,
    }
    for name, metrics in NEEDED_BY.items():
        if name in shelf.lacking:
            why |= dict.fromkeys(metrics, (shelf.lacking[name], how_to_get(name)))
    if not any(clip.reference for clip in results.clips):
        why |= dict.fromkeys(_OF_PAIRS, _NO_REFERENCE)
    return [
        Missing(metric.name, *why.get(metric.name, _NO_FIGURE))
        for metric in METRICS
        if metric.name not in had
    ]
