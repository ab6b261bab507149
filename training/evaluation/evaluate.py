"""Evaluation: pair, measure, compare, sum up; what `talk evaluate` does, in order.

Every generated clip ends in the results, whatever is wrong with it; a metric that cannot be had is
listed as missing with the way to get it, and never replaced by another under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from training.errors import InputError
from training.evaluation.clip_metrics import add_no_reference, add_seam, add_sync
from training.evaluation.identity import ArcFace, FaceEmbedder
from training.evaluation.measuring import CURATE, MeasuredRun, measure, read_run
from training.evaluation.missing import missing_of
from training.evaluation.pair_metrics import Looks, add_identity, add_likeness, add_mouth
from training.evaluation.pairing import pair_folders
from training.evaluation.results import ClipResult, Results
from training.evaluation.set_metrics import add_fid, add_fvd
from training.evaluation.sidecars import WindowLength, read_source
from training.evaluation.traces import Trace, trace
from training.evaluation.weights import Shelf, find_weights

_VERSIONS = ("talkreel", "torch", "torchmetrics", "scikit-image", "scipy", "av", "numpy")


@dataclass(frozen=True)
class Request:
    """What is evaluated, and how closely it is looked at.

    Attributes:
        generated: folder with generated clips.
        reference: folder with real clips of the same stems; ``None`` to go without.
        source: folder with what was given to the generator; ``None``: as far as sidecars tell.
        out: folder of the results, which also holds the curation runs.
        generated_run: a curation run over the generated clips, made elsewhere.
        reference_run: the same over the reference.
        windows: windows of the generation where no sidecar lists them.
        look_every_s: distance of the frames that PSNR, SSIM, LPIPS, FID and identity look at.
        num_workers: worker processes of the curation runs.
        sets: overrides of the recipe of the runs, `key=value`.
        fetch: fetch weights that are not in the cache.
        device: where the networks of FID, FVD and LPIPS run, as torch names it.
        seed: seed of the bootstrap.
    """

    generated: Path
    reference: Path | None
    source: Path | None
    out: Path
    generated_run: Path | None = None
    reference_run: Path | None = None
    windows: WindowLength | None = None
    look_every_s: float = 0.2
    num_workers: int = 1
    sets: tuple[str, ...] = ()
    fetch: bool = False
    device: str = "cpu"
    seed: int = 0


def evaluate(
    request: Request,
    tell: Callable[[str], None] | None = None,
    command: Sequence[str] = CURATE,
) -> Results:
    """Evaluate a folder of generated clips.

    Args:
        request: what is asked for.
        tell: told what is being done; the curation runs then show their progress too.
        command: the `curate` command.

    Returns:
        The results; nothing but the curation runs is written.

    Raises:
        InputError: a folder or a run cannot be used.
    """
    is_quiet, tell = tell is None, tell or (lambda line: None)
    pairing = pair_folders(request.generated, request.reference, request.source)
    shelf = find_weights(fetch=request.fetch, command=command)
    # SyncNet measures as soon as its weights are there, which an older run may not have had.
    renew = "syncnet" in shelf.there

    def run_over(paths: Sequence[Path], given: Path | None, name: str) -> MeasuredRun:
        if given is not None:
            return read_run(given, paths)
        return measure(
            paths,
            request.out / name,
            num_workers=request.num_workers,
            sets=request.sets,
            renew=renew,
            quiet=is_quiet,
            command=command,
        )

    paths = [pair.generated for pair in pairing.pairs]
    tell(f"measuring {len(paths)} generated clips")
    mine = run_over(paths, request.generated_run, "generated-run")
    others = [pair.reference for pair in pairing.pairs if pair.reference is not None]
    theirs = None
    if others:
        tell(f"measuring {len(others)} reference clips")
        theirs = run_over(others, request.reference_run, "reference-run")
    embed = ArcFace(shelf.there["arcface"].path) if "arcface" in shelf.there else None
    results = Results(
        clips=[],
        reference_only=pairing.reference_only,
        source_only=pairing.source_only,
        made_with=_made_with(request, mine, theirs, shelf),
    )
    looks = Looks(request.look_every_s, shelf, request.device)
    for pair in pairing.pairs:
        tell(f"comparing {pair.stem}")
        told, fault = (pair.source, None) if pair.source else read_source(pair.generated)
        clip = ClipResult(pair.stem, pair.generated, pair.reference, told)
        clip.notes += [fault] if fault else []
        _compare(clip, mine, theirs, request, looks, embed)
        results.clips.append(clip)
    if theirs is not None:
        add_fid(results, shelf, request.look_every_s, request.device, tell)
        add_fvd(results, shelf, request.device, tell)
    results.missing = missing_of(results, shelf)
    return results


def _compare(
    clip: ClipResult,
    mine: MeasuredRun,
    theirs: MeasuredRun | None,
    request: Request,
    looks: Looks,
    embed: FaceEmbedder | None,
) -> None:
    """Everything of one clip; a file that cannot be decoded is said to be, and the others go on."""
    measured = mine.clips[clip.generated]
    clip.clip_id, clip.unmeasured = measured.clip_id, measured.reason
    other = None if theirs is None or clip.reference is None else theirs.clips[clip.reference]
    add_sync(clip, measured, of_reference=False)
    if other is not None:
        clip.reference_clip_id = other.clip_id
        if other.reason:
            clip.notes.append(f"reference could not be measured: {other.reason}")
        add_sync(clip, other, of_reference=True)
    seen = _trace(clip, clip.generated)
    seen_other = None if clip.reference is None else _trace(clip, clip.reference)
    if seen is not None:
        clip.duration_s = seen.duration_s
        clip.frame_rate_fps = seen.frame_rate_fps if len(seen.times_s) > 1 else None
        add_no_reference(clip, measured, seen, of_reference=False)
        add_seam(clip, seen, seen_other, request.windows)
    if seen_other is not None and other is not None:
        add_no_reference(clip, other, seen_other, of_reference=True)
    if other is not None:
        add_mouth(clip, measured, other)
    if seen is not None:
        add_likeness(clip, seen, seen_other, looks)
    if embed is not None:
        add_identity(clip, measured, other, looks, embed)


def _trace(clip: ClipResult, path: Path) -> Trace | None:
    try:
        return trace(path)
    except InputError as error:
        clip.notes.append(str(error))
        return None


def _made_with(
    request: Request, mine: MeasuredRun, theirs: MeasuredRun | None, shelf: Shelf
) -> dict[str, object]:
    def told(run: MeasuredRun | None) -> dict[str, object] | None:
        if run is None:
            return None
        return {
            "recipe": run.recipe_name,
            "recipe_digest": run.recipe_digest,
            "versions": run.versions,
            "fingerprints": run.fingerprints,
        }

    return {
        "generated_run": told(mine),
        "reference_run": told(theirs),
        "versions": {name: found for name in _VERSIONS if (found := _version(name))},
        "weights": {
            file.name: {"sha256": file.sha256, "licence": file.licence}
            for file in shelf.there.values()
        },
        "settings": {
            "look_every_s": request.look_every_s,
            "seed": request.seed,
            "sets": list(request.sets),
        },
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
