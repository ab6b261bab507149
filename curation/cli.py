"""The ``curate`` command."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from curation.errors import CurationError, RunError
from curation.learn_sync import learn_sync
from curation.recipe import Recipe, check_recipe, load_recipe
from curation.weights_cli import app as weights_app
from manifests.errors import ManifestError
from manifests.storage import Folder
from stages.errors import StageError

EXIT_DONE, EXIT_UNSOUND, EXIT_USAGE = 0, 1, 2

app = typer.Typer(
    name="curate",
    help="Turn raw video into synchronised audio-video-text triplets of talking portraits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.add_typer(weights_app, name="weights")
app.command(
    name="learn-sync",
    epilog="Example: curate learn-sync runs/first --out my_sync.npz --report my_sync.md",
)(learn_sync)

Out = Annotated[str, typer.Option("--out", help="Run directory, local or any fsspec URL.")]
Run = Annotated[str, typer.Argument(help="Run directory, local or any fsspec URL.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one value: sync.min_confidence=0.5, pack.crf=20."),
]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Worker processes; 0: all CPUs.")]
EngineName = Annotated[str, typer.Option("--engine", help="ray, or inline: in this process.")]
Address = Annotated[
    str | None, typer.Option("--address", help="Running Ray cluster to join; default: own one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, no progress.")]


@app.command(epilog="Example: curate run footage/ --out runs/first --set dedup.enabled=false")
def run(
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, globs, URLs or lists.")],
    out: Out,
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a TOML file.")] = (
        "talking_portrait"
    ),
    workers: Workers = 0,
    engine: EngineName = "ray",
    address: Address = None,
    sets: Sets = None,
    change_recipe: Annotated[
        bool, typer.Option("--change-recipe", help="Go on in a run begun with another recipe.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure, select and pack; resumes what it finds in the run directory."""
    from curation.driver import run_all
    from curation.inputs import find_inputs

    checked = load_recipe(recipe, sets or [])
    _check_engine(engine, address)
    books = run_all(
        find_inputs(inputs),
        Folder(out),
        checked,
        engine=engine,
        num_workers=workers,
        address=address,
        change_recipe=change_recipe,
        quiet=as_json,
    )
    _finish(books, checked, out, as_json)


@app.command(epilog="Example: curate select runs/first --set sync.min_confidence=0.8")
def select(
    run_directory: Run,
    sets: Sets = None,
    flags: Annotated[
        str | None,
        typer.Option(help="Refuse what was flagged bad: in this run's `shards serve`, or a CSV."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a measured run anew; nothing is decoded. `curate pack` then writes the shards."""
    from curation.driver import select_again

    folder = Folder(run_directory)
    result = select_again(folder, _stored_recipe(folder), sets or [], flags)
    if as_json:
        print(json.dumps(result, indent=2, sort_keys=True))
        return
    print(
        f"{result['num_won']} clips won ({result['won_s']:.1f} s), "
        f"{result['num_lost']} lost ({result['lost_s']:.1f} s); "
        f"{result['num_kept']} of {result['num_clips']} kept, {result['num_pending']} pending"
    )
    if result["num_pending"]:
        print("pending clips wait for a stage they were spared: call `curate run` again")
    print(f"next: curate pack {run_directory}")


@app.command(epilog="Example: curate pack runs/first --workers 8")
def pack(
    run_directory: Run,
    workers: Workers = 0,
    engine: EngineName = "ray",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Write the shards of the current selection; shards that are right already stay."""
    from curation.driver import pack_again

    _check_engine(engine, address)
    folder = Folder(run_directory)
    work = pack_again(
        folder,
        _stored_recipe(folder),
        engine=engine,
        num_workers=workers,
        address=address,
        quiet=as_json,
    )
    print(json.dumps(work) if as_json else f"{work['clips_packed']} clips in {out_of(folder)}")


@app.command(epilog="Example: curate retry runs/first --only DeadlineExceeded")
def retry(
    run_directory: Run,
    only: Annotated[str | None, typer.Option(help="Only this cause.")] = None,
    workers: Workers = 0,
    engine: EngineName = "ray",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Try dead sources again, then select and pack."""
    from curation.driver import run_all, stored_inputs

    _check_engine(engine, address)
    folder = Folder(run_directory)
    checked = _stored_recipe(folder)
    books = run_all(
        stored_inputs(folder),
        folder,
        checked,
        engine=engine,
        num_workers=workers,
        address=address,
        retry=lambda letter: only in (None, letter.cause),
        quiet=as_json,
    )
    _finish(books, checked, run_directory, as_json)


@app.command(epilog="Example: curate explain runs/first footage/interview.mp4")
def explain(
    run_directory: Run,
    what: Annotated[str, typer.Argument(metavar="CLIP_OR_URI", help="Clip id, or (end of) a URI.")],
    as_json: AsJson = False,
) -> None:
    """Say what became of a source or a clip, and why."""
    from curation.explain import explain_text, find_rows

    folder = Folder(run_directory)
    checked = _stored_recipe(folder)
    found = find_rows(folder, what)
    if as_json:
        print(json.dumps(found, indent=2, sort_keys=True, default=str))
    else:
        print(explain_text(found, checked))


@app.command(epilog="Example: curate demo footage/")
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the footage goes.")] = Path("demo-footage"),
    check: Annotated[
        str | None, typer.Option(help="Run directory: compare its verdicts with the truth.")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Make one clip and portrait that are not in it.")
    ] = False,
) -> None:
    """Make raw footage with known truth from parts of ordinary packages; download nothing."""
    from curation.demo import make_demo_footage, make_held_out
    from curation.demo_truth import compare, read_truth, truth_table

    if held_out:
        make_held_out(folder)
        print(f"a clip and its first frame in {folder}; give their sound and picture to a model")
        return
    if check is None:
        truths = make_demo_footage(folder)
        print(truth_table([(truth, None) for truth in truths]))
        print(f"{len(truths)} files in {folder}; next: curate run {folder} --out {folder}-run")
        return
    verdicts = compare(read_truth(folder), Folder(check))
    print(truth_table(verdicts))
    wrong = [truth.file for truth, found in verdicts if found is None or not found.is_right]
    if wrong:
        print(f"not as made: {', '.join(wrong)}", file=sys.stderr)
        raise typer.Exit(EXIT_UNSOUND)


def out_of(folder: Folder) -> str:
    """Address of the dataset of a run."""
    return folder.join("dataset")


def _check_engine(engine: str, address: str | None) -> None:
    if engine not in ("ray", "inline"):
        raise CurationError(f"--engine {engine!r}: there are 'ray' and 'inline'")
    if engine == "inline" and address:
        raise CurationError("--address is for --engine ray; inline uses no cluster")


def _stored_recipe(folder: Folder) -> Recipe:
    from curation.run_file import read_run_file

    known = read_run_file(folder)
    if known is None:
        raise RunError(
            f"{folder}: not a run directory, it has no run.json; begin with `curate run`"
        )
    return check_recipe(known["recipe"], f"{folder}/run.json")


def _finish(books: Any, recipe: Recipe, out: str, as_json: bool) -> None:
    from curation.summary import cost_line, funnel_table

    if as_json:
        print(json.dumps(asdict(books), indent=2, sort_keys=True))
    else:
        print(funnel_table(books))
        print(cost_line(books))
        print(f"\ndataset  {Folder(out).join('dataset')}\nreport   {Folder(out).join('report')}")
    if books.work["clips_lost_in_packing"]:
        print(
            f"{books.work['clips_lost_in_packing']} kept clips could not be read any more: "
            f"see {Folder(out).join('dead_letter.jsonl')}",
            file=sys.stderr,
        )
        raise typer.Exit(EXIT_UNSOUND)
    dead = books.counts["dead"]
    if dead > recipe.run.max_dead_ratio * books.counts["inputs"]:
        print(
            f"{dead} dead of {books.counts['inputs']} inputs, allowed share is "
            f"{recipe.run.max_dead_ratio:g}: see {Folder(out).join('dead_letter.jsonl')}, "
            f"then `curate retry {out}`",
            file=sys.stderr,
        )
        raise typer.Exit(EXIT_UNSOUND)


def main() -> None:
    """Entry point: errors that the user can mend are one line and exit code 2."""
    # The networks' libraries announce themselves on stderr, each worker anew.
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        app()
    except (CurationError, ManifestError, StageError) as error:
        print(f"curate: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
