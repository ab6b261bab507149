"""``talk generate`` and ``talk edit``: options and messages only.

Everything that needs torch is imported by the command that runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training.errors import SettingError, TalkError

if TYPE_CHECKING:
    from training.generation.inputs import Size
    from training.generation.pipeline import TalkingPortraitPipeline
    from training.generation.progress import RichWatcher
    from training.generation.record import Made
    from training.generation.settings import GenerationSettings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Model = Annotated[Path, typer.Option("--model", help="Folder that training wrote.")]
Audio = Annotated[
    list[Path], typer.Option("--audio", help="Voice; repeat it for several speakers.")
]
Out = Annotated[Path, typer.Option("--out", help="The mp4 to write.")]
Prompt = Annotated[str, typer.Option("--prompt", help="What is seen.")]
NegativePrompt = Annotated[str, typer.Option("--negative-prompt", help="What is not to be seen.")]
PresetName = Annotated[str, typer.Option("--preset", help="fast, balanced or quality.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Solver steps.")]
TextGuidance = Annotated[float | None, typer.Option("--text-guidance", help="1: none.")]
AudioGuidance = Annotated[float | None, typer.Option("--audio-guidance", help="1: none.")]
GuidanceName = Annotated[
    str | None,
    typer.Option("--guidance", help="multitalk, echomimic, audio_only, joint or none."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, as window_latents=25 or solver=euler; repeatable."),
]
SizeText = Annotated[
    str | None, typer.Option("--size", help="480p, 540p, 720p, or WIDTHxHEIGHT in pixels.")
]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same frames.")]
Device = Annotated[str | None, typer.Option("--device", help="cuda, cpu; default: what is there.")]
MaxAudio = Annotated[float, typer.Option("--max-audio-s", help="Longer sound is refused.")]
AllowSilence = Annotated[bool, typer.Option("--allow-silence", help="Take silent sound.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, no progress.")]

_AREAS = {"480p": 480 * 832, "540p": 544 * 960, "720p": 720 * 1280}
"""The sizes that Wan2.1 (480p, 720p) and SkyReels-V2 (540p) were trained on."""


@app.command(
    epilog="Example: talk generate --model out/model --audio a.wav --image p.jpg "
    '--prompt "a person talks" --out talk.mp4'
)
def generate(
    model: Model,
    audio: Audio,
    out: Out,
    image: Annotated[Path | None, typer.Option("--image", help="Portrait.")] = None,
    last_image: Annotated[
        Path | None, typer.Option("--last-image", help="Picture that the film ends with.")
    ] = None,
    video: Annotated[Path | None, typer.Option("--video", help="Film that goes on.")] = None,
    prompt: Prompt = "",
    negative_prompt: NegativePrompt = "",
    preset: PresetName = "balanced",
    steps: Steps = None,
    guidance: GuidanceName = None,
    text_guidance: TextGuidance = None,
    audio_guidance: AudioGuidance = None,
    size: SizeText = None,
    duration_s: Annotated[
        float | None, typer.Option("--duration-s", min=0.04, help="Default: the sound's.")
    ] = None,
    seed: Seed = 0,
    sets: Sets = None,
    face_check: Annotated[
        bool,
        typer.Option("--face-check/--no-face-check", help="Look for faces in the portrait."),
    ] = True,
    max_audio_s: MaxAudio = 3600,
    allow_silence: AllowSilence = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Make a talking portrait of any length from sound and text, a picture or a film."""
    from training.generation.making import VoiceOptions, generate_file

    settings, shape = _settings(preset, steps, guidance, text_guidance, audio_guidance, size, sets)

    def make(pipeline: TalkingPortraitPipeline, watcher: RichWatcher) -> Made:
        return generate_file(
            pipeline,
            out,
            audio,
            settings,
            image=image,
            last_image=last_image,
            video=video,
            prompt=prompt,
            negative_prompt=negative_prompt,
            size=shape,
            duration_s=duration_s,
            seed=seed,
            face_check=face_check,
            voices=VoiceOptions(max_audio_s, allow_silence),
            watcher=watcher,
        )

    _run(make, model, out, settings, device, as_json)


@app.command(
    epilog="Example: talk edit --model out/model --video take.mp4 --audio new.wav --out edited.mp4"
)
def edit(
    model: Model,
    video: Annotated[Path, typer.Option("--video", help="Film whose lips are made anew.")],
    audio: Audio,
    out: Out,
    prompt: Prompt = "",
    negative_prompt: NegativePrompt = "",
    preset: PresetName = "balanced",
    steps: Steps = None,
    guidance: GuidanceName = None,
    text_guidance: TextGuidance = None,
    audio_guidance: AudioGuidance = None,
    size: SizeText = None,
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
    seed: Seed = 0,
    sets: Sets = None,
    max_audio_s: MaxAudio = 3600,
    allow_silence: AllowSilence = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Give a film other sound and the lips to it; everything else stays the film's own."""
    from training.generation.making import VoiceOptions, edit_file

    settings, shape = _settings(
        preset,
        steps,
        guidance,
        text_guidance,
        audio_guidance,
        size,
        sets,
        strength=strength,
        replace_outside=replace_outside,
    )

    def make(pipeline: TalkingPortraitPipeline, watcher: RichWatcher) -> Made:
        return edit_file(
            pipeline,
            out,
            video,
            audio,
            settings,
            prompt=prompt,
            negative_prompt=negative_prompt,
            size=shape,
            seed=seed,
            face_track=face_track,
            voices=VoiceOptions(max_audio_s, allow_silence),
            watcher=watcher,
        )

    _run(make, model, out, settings, device, as_json)


def _settings(
    preset: str,
    steps: int | None,
    guidance: str | None,
    text_guidance: float | None,
    audio_guidance: float | None,
    size: str | None,
    sets: list[str] | None,
    **more: Any,
) -> tuple[GenerationSettings, Size | None]:
    from training.generation.inputs import Size
    from training.generation.settings import make_settings

    shape, area_px = None, None
    if size is not None:
        width, x, height = size.partition("x")
        if size in _AREAS:
            area_px = _AREAS[size]
        elif x and width.isdecimal() and height.isdecimal():
            shape = Size(int(width), int(height))
        else:
            _stop(SettingError(f"--size {size}: give {', '.join(_AREAS)} or WIDTHxHEIGHT"))
    changes = {
        "num_steps": steps,
        "guidance": guidance,
        "text_guidance": text_guidance,
        "audio_guidance": audio_guidance,
        "area_px": area_px,
    }
    try:
        return make_settings(preset, changes | more, sets), shape
    except TalkError as error:
        _stop(error)
        raise


def _run(
    make: Callable[[TalkingPortraitPipeline, RichWatcher], Made],
    model: Path,
    out: Path,
    settings: GenerationSettings,
    device: str | None,
    as_json: bool,
) -> None:
    """Load the model, make the film, say what was made."""
    import logging

    import torch

    from training.generation.pipeline import TalkingPortraitPipeline
    from training.generation.progress import RichWatcher
    from training.generation.ranks import default_device, is_first_rank

    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    where = device or default_device()
    dtype = torch.bfloat16 if where.startswith("cuda") else torch.float32
    begun = time.monotonic()
    try:
        pipeline = TalkingPortraitPipeline.from_pretrained(model, device=where, torch_dtype=dtype)
        preview_to = out.with_suffix(".preview.png") if settings.preview_every else None
        quiet = as_json or not is_first_rank()
        with RichWatcher(quiet=quiet, preview_to=preview_to, codec=pipeline.codec) as watcher:
            made = make(pipeline, watcher)
    except TalkError as error:
        _stop(error)
        return
    if not is_first_rank():
        return
    seconds = time.monotonic() - begun
    if as_json:
        print(json.dumps(made.as_dict() | {"seconds": round(seconds, 2)}, ensure_ascii=False))
        return
    print(
        f"{made.out}: {made.num_frames} frames of {made.width_px}x{made.height_px} at "
        f"{made.fps:g} a second, {watcher.num_passes} passes, {seconds:.1f} s, seed {made.seed}"
    )


def _stop(error: TalkError) -> None:
    print(f"talk: {error}", file=sys.stderr)
    raise typer.Exit(2)
