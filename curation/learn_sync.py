"""The ``curate learn-sync`` command: the lip-sync estimator learned anew from measured runs."""

from __future__ import annotations

import fnmatch
import sys
from pathlib import Path
from typing import Annotated

import typer

from curation.errors import RunError
from manifests.storage import Folder


def learn_sync(
    runs: Annotated[list[str], typer.Argument(help="Run directories of measured footage.")],
    out: Annotated[Path, typer.Option("--out", help="Weights to write (.npz).")],
    speakers: Annotated[
        Path | None,
        typer.Option(help="CSV 'uri,speaker': which sources show the same person."),
    ] = None,
    in_sync: Annotated[
        list[str] | None,
        typer.Option(
            "--in-sync", help="Pattern of URIs known to be in sync; their median is zero."
        ),
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option("--leave-out", help="Pattern of URIs not to learn from.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Markdown file for the held-out figures.")
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(
            "--held-out",
            help="Folder for the fold networks that the figures come from; "
            "`python -m benchmarks.sync_accuracy --weights` takes them.",
        ),
    ] = None,
    networks: Annotated[int, typer.Option(min=1, help="Networks whose curves are averaged.")] = 2,
    steps: Annotated[int, typer.Option(min=10, help="Steps of learning of each of them.")] = 800,
    folds: Annotated[int, typer.Option(min=2, help="Folds over speakers.")] = 4,
    round_steps: Annotated[
        list[int] | None, typer.Option("--round-steps", help="Steps of each round; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, runs and machine: same weights.")] = 0,
) -> None:
    """Learn the lip-sync estimator from the landmarks and the sound that runs keep.

    Rounds re-label the clips, since native sound is not in sync to begin with, always by networks
    that have not seen the speaker. The figures told are held out; the weights written are learned
    from all. Use them with `curate run --set sync.weights=FILE`.
    """
    import numpy as np

    from stages.face_track import save_arrays
    from stages.sync_examples import read_run, read_speakers
    from stages.sync_figures import calibration, confidence_held_out, table
    from stages.sync_learning import LearningSettings, learn

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def matches(uri: str, patterns: list[str] | None) -> bool:
        return any(fnmatch.fnmatchcase(uri, f"*{pattern}") for pattern in patterns or [])

    known = read_speakers(speakers) if speakers else []
    clips = [
        clip
        for name in runs
        for clip in read_run(Folder(name), known)
        if not matches(clip.uri, leave_out)
    ]
    if not clips:
        raise RunError(
            f"{', '.join(runs)}: no clip with a face and a sound; begin with `curate run`, gates "
            "do not matter here"
        )
    tell(
        f"{len(clips)} clips, {sum(clip.length_s for clip in clips):.0f} s, "
        f"{len({clip.speaker for clip in clips})} speakers"
    )
    first = {
        clip.name: clip.measured_offset_ms for clip in clips if clip.measured_offset_ms is not None
    }
    settings = LearningSettings(
        num_folds=folds,
        round_steps=tuple(round_steps or LearningSettings.round_steps),
        num_networks=networks,
        final_steps=steps,
        seed=seed,
    )
    learned = learn(
        clips,
        first or {clip.name: 0.0 for clip in clips},
        lambda clip: matches(clip.uri, in_sync),
        settings,
        tell,
    )
    confidence = confidence_held_out(learned.trials)
    sure = settings.margin_ratio * float(
        np.median([t.reference_margin for t in learned.trials if t.voice == "own"])
    )
    text = (
        table(learned.trials, confidence, sure) + "\n\n" + calibration(learned.trials, confidence)
    )
    print(text)
    if report is not None:
        report.write_text(text + "\n", encoding="utf-8")
    if held_out is not None:
        held_out.mkdir(parents=True, exist_ok=True)
        for number, estimator in enumerate(learned.held_out, 1):
            (held_out / f"fold{number}.npz").write_bytes(save_arrays(estimator.to_arrays()))
    out.write_bytes(save_arrays(learned.estimator.to_arrays()))
    print(f"{out}: {out.stat().st_size} bytes; use it with --set sync.weights={out}")
