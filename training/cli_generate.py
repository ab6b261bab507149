"""``talk generate`` and ``talk edit``: options and messages only.

Everything that needs torch is imported by the command that runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from training.errors import SettingError, TalkError

if TYPE_CHECKING:
    from training.generation.inputs import Size
    from training.generation.pipeline import TalkingPortraitPipeline
    from training.generation.record import Made
    from training.generation.settings import GenerationSettings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

_AREAS = {"480p": 480 * 832, "540p": 544 * 960, "720p": 720 * 1280}
"""The sizes that Wan2.1 (480p, 720p) and SkyReels-V2 (540p) were trained on."""


@dataclass(frozen=True)
class Asked:
    """Options that both commands have."""

    model: Annotated[Path, typer.Option("--model", help="Folder that training wrote.")]
    audio: Annotated[
        list[Path], typer.Option("--audio", help="Voice; repeat it for several speakers.")
    ]
    out: Annotated[Path, typer.Option("--out", help="The mp4 to write.")]
    prompt: Annotated[str, typer.Option("--prompt", help="What is seen.")] = ""
    negative_prompt: Annotated[
        str, typer.Option("--negative-prompt", help="What is not to be seen.")
    ] = ""
    preset: Annotated[str, typer.Option("--preset", help="fast, balanced or quality.")] = "balanced"
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Solver steps.")] = None
    guidance: Annotated[
        str | None,
        typer.Option("--guidance", help="multitalk, echomimic, audio_only, joint or none."),
    ] = None
    text_guidance: Annotated[float | None, typer.Option("--text-guidance", help="1: none.")] = None
    audio_guidance: Annotated[float | None, typer.Option("--audio-guidance", help="1: none.")] = (
        None
    )
    size: Annotated[
        str | None, typer.Option("--size", help="480p, 540p, 720p, or WIDTHxHEIGHT in pixels.")
    ] = None
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=2**63 - 1, help="The same seed gives the same frames."),
    ] = 0
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any setting, as window_latents=25 or solver=euler; repeatable."
        ),
    ] = None
    max_audio_s: Annotated[
        float, typer.Option("--max-audio-s", help="Longer sound is refused.")
    ] = 3600
    allow_silence: Annotated[bool, typer.Option("--allow-silence", help="Take silent sound.")] = (
        False
    )
    device: Annotated[
        str | None, typer.Option("--device", help="cuda, cpu; default: what is there.")
    ] = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for scripts, no progress.")
    ] = False


def _asking(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter is `Asked`, its options before its own.

    typer reads options off a function's signature; this writes one.
    """
    shared = get_type_hints(Asked, include_extras=True)
    own = get_type_hints(command, include_extras=True)
    options = [
        Parameter(
            item.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if item.default is MISSING else item.default,
            annotation=shared[item.name],
        )
        for item in fields(Asked)
    ]
    options += [
        item.replace(kind=Parameter.KEYWORD_ONLY, annotation=own[item.name])
        for item in list(signature(command).parameters.values())[1:]
    ]

    def called(**given: Any) -> None:
        common = {name: given.pop(name) for name in shared}
        command(Asked(**common), **given)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {item.name: item.annotation for item in options}
    options.sort(key=lambda item: item.default is not Parameter.empty)
    called.__signature__ = Signature(options)  # type: ignore[attr-defined]
    return called


@app.command(
    epilog="Example: talk generate --model out/model --audio a.wav --image p.jpg "
    '--prompt "a person talks" --out talk.mp4'
)
@_asking
def generate(
    asked: Asked,
    image: Annotated[Path | None, typer.Option("--image", help="Portrait.")] = None,
    last_image: Annotated[
        Path | None, typer.Option("--last-image", help="Picture that the film ends with.")
    ] = None,
    video: Annotated[Path | None, typer.Option("--video", help="Film that goes on.")] = None,
    duration_s: Annotated[
        float | None, typer.Option("--duration-s", min=0.04, help="Default: the sound's.")
    ] = None,
    face_check: Annotated[
        bool,
        typer.Option("--face-check/--no-face-check", help="Look for faces in the portrait."),
    ] = True,
) -> None:
    """Make a talking portrait of any length from sound and text, a picture or a film."""
    from training.generation.making import generate_file

    def make(pipeline: TalkingPortraitPipeline, common: dict[str, Any]) -> Made:
        return generate_file(
            pipeline,
            asked.out,
            asked.audio,
            image=image,
            last_image=last_image,
            video=video,
            duration_s=duration_s,
            face_check=face_check,
            **common,
        )

    _run(make, asked)


@app.command(
    epilog="Example: talk edit --model out/model --video take.mp4 --audio new.wav --out edited.mp4"
)
@_asking
def edit(
    asked: Asked,
    video: Annotated[Path, typer.Option("--video", help="Film whose lips are made anew.")],
    strength: Annotated[
        float | None, typer.Option("--strength", help="Below 1: start from the source's own lips.")
    ] = None,
    replace_outside: Annotated[
        bool | None,
        typer.Option(
            "--replace-outside", help="Hold latents outside of the region to the source's."
        ),
    ] = None,
    face_track: Annotated[
        Path | None, typer.Option("--face-track", help="face.npz of a packed sample.")
    ] = None,
) -> None:
    """Give a film other sound and the lips to it; everything else stays the film's own."""
    from training.generation.making import edit_file

    def make(pipeline: TalkingPortraitPipeline, common: dict[str, Any]) -> Made:
        return edit_file(pipeline, asked.out, video, asked.audio, face_track=face_track, **common)

    _run(make, asked, strength=strength, replace_outside=replace_outside)


def _settings(asked: Asked, **more: Any) -> tuple[GenerationSettings, Size | None]:
    from training.generation.inputs import Size
    from training.generation.settings import make_settings

    shape, area_px = None, None
    if asked.size is not None:
        width, x, height = asked.size.partition("x")
        if asked.size in _AREAS:
            area_px = _AREAS[asked.size]
        elif x and width.isdecimal() and height.isdecimal():
            shape = Size(int(width), int(height))
        else:
            raise SettingError(f"--size {asked.size}: give {', '.join(_AREAS)} or WIDTHxHEIGHT")
    changes = {
        "num_steps": asked.steps,
        "guidance": asked.guidance,
        "text_guidance": asked.text_guidance,
        "audio_guidance": asked.audio_guidance,
        "area_px": area_px,
    }
    return make_settings(asked.preset, changes | more, asked.sets), shape


def _run(
    make: Callable[[TalkingPortraitPipeline, dict[str, Any]], Made], asked: Asked, **more: Any
) -> None:
    """Check settings, load the model, make the film, say what was made."""
    import logging

    import torch

    from training.generation.making import VoiceOptions
    from training.generation.pipeline import TalkingPortraitPipeline
    from training.generation.progress import RichWatcher
    from training.generation.ranks import default_device, is_first_rank, is_there

    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    where = asked.device or default_device()
    if not is_there(where):
        print(f"talk: --device {where}: torch finds none; cpu is always there", file=sys.stderr)
        raise typer.Exit(2)
    dtype = torch.bfloat16 if where.startswith("cuda") else torch.float32
    begun = time.monotonic()
    try:
        settings, size = _settings(asked, **more)
        pipeline = TalkingPortraitPipeline.from_pretrained(
            asked.model, device=where, torch_dtype=dtype
        )
        preview_to = asked.out.with_suffix(".preview.png") if settings.preview_every else None
        quiet = asked.as_json or not is_first_rank()
        with RichWatcher(quiet=quiet, preview_to=preview_to, codec=pipeline.codec) as watcher:
            common = {
                "settings": settings,
                "prompt": asked.prompt,
                "negative_prompt": asked.negative_prompt,
                "size": size,
                "seed": asked.seed,
                "voices": VoiceOptions(asked.max_audio_s, asked.allow_silence),
                "watcher": watcher,
            }
            made = make(pipeline, common)
    except TalkError as error:
        print(f"talk: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    if not is_first_rank():
        return
    seconds = time.monotonic() - begun
    if asked.as_json:
        print(json.dumps(made.as_dict() | {"seconds": round(seconds, 2)}, ensure_ascii=False))
        return
    print(
        f"{made.out}: {made.num_frames} frames of {made.width_px}x{made.height_px} at "
        f"{made.fps:g} a second, {watcher.num_passes} passes, {seconds:.1f} s, seed {made.seed}"
    )
