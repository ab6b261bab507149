"""`talk evaluate`: judge generated clips; hooked into `talk` as a command.

Exit codes: 0 done, 1 no clip gave a figure, 2 wrong use.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from training.errors import SettingError, TalkError

app = typer.Typer(name="evaluate", pretty_exceptions_enable=False)


@app.command(
    epilog="Example: talk evaluate --generated out/clips --reference data/held-out --out out/judged"
)
def evaluate(
    generated: Annotated[Path, typer.Option(help="Folder with the generated clips.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; holds the curation runs too.")],
    reference: Annotated[
        Path | None, typer.Option(help="Folder with real clips; paired by file stem.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Folder with what was given: portraits or videos; default: STEM.json."),
    ] = None,
    generated_run: Annotated[
        Path | None, typer.Option(help="Curation run over the generated clips, made elsewhere.")
    ] = None,
    reference_run: Annotated[
        Path | None, typer.Option(help="Curation run over the reference clips, made elsewhere.")
    ] = None,
    window_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a window, where no STEM.json lists them.")
    ] = None,
    overlap_frames: Annotated[
        int, typer.Option(min=0, help="Frames that neighbouring windows share.")
    ] = 0,
    look_every_s: Annotated[
        float, typer.Option(min=0.01, help="Seconds between the pictures that are compared.")
    ] = 0.2,
    workers: Annotated[
        int, typer.Option(min=0, help="Workers of the curation runs; 1: no Ray, 0: all CPUs.")
    ] = 1,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Override one value of the runs' recipe.")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch weights of metrics that are not in the cache.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where the networks of FID, FVD and LPIPS run, as torch names it.")
    ] = "cpu",
    page: Annotated[bool, typer.Option(help="Write the page and its videos.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the confidence intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Measure generated clips as training data is measured, and compare them with real ones."""
    try:
        if window_frames is not None and overlap_frames >= window_frames:
            raise SettingError(
                f"--overlap-frames {overlap_frames} must be less than --window-frames "
                f"{window_frames}: a window has to go forward"
            )
        _evaluate(
            generated=generated,
            reference=reference,
            source=source,
            out=out,
            generated_run=generated_run,
            reference_run=reference_run,
            window_frames=window_frames,
            overlap_frames=overlap_frames,
            look_every_s=look_every_s,
            num_workers=workers,
            sets=tuple(sets or ()),
            fetch=fetch,
            device=device,
            page=page,
            seed=seed,
            as_json=as_json,
        )
    except TalkError as error:
        print(f"talk: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


def _evaluate(
    *,
    out: Path,
    window_frames: int | None,
    overlap_frames: int,
    page: bool,
    seed: int,
    as_json: bool,
    **asked: object,
) -> None:
    from training.evaluation.evaluate import Request, evaluate
    from training.evaluation.page import write_page
    from training.evaluation.results import as_json as describe
    from training.evaluation.results import write_results
    from training.evaluation.sidecars import WindowLength
    from training.evaluation.summary import summary_text

    windows = None if window_frames is None else WindowLength(window_frames, overlap_frames)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    request = Request(out=out, windows=windows, seed=seed, **asked)  # type: ignore[arg-type]
    results = evaluate(request, None if as_json else tell)
    write_results(results, out, seed)
    if page:
        write_page(results, out, seed)
    if as_json:
        print(json.dumps(describe(results, seed), indent=2, ensure_ascii=False))
    else:
        print(summary_text(results, out, seed))
    names = {name for clip in results.clips for name in clip.values}
    if all(name.startswith("reference.") for name in names):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
