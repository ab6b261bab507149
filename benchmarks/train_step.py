"""What the audio adapter costs a training step, against the bare diffusers model.

    python -m benchmarks.train_step [--size cpu|1.3B|14B] [--device cpu|cuda] [--pairs N]
        [--frames T] [--height PX] [--width PX] [--scope window|clip] [--speakers A]
        [--train all|adapter] [--dtype float32|bfloat16] [--recompute]

A step is forward, backward and AdamW over the same random batch. Both models are built in one
process and step in turn, the order within a pair alternating; a ratio is that of one pair, printed
are median and quartiles. On a CPU the time is this process's CPU time, which neighbours on the
machine disturb less than they do a clock, on one thread.

``cpu`` is a model of the 1.3B model's proportions, 512 wide with 4 blocks (the projector, which all
blocks share, weighs more here than over 30 of them); attention's share of a
step grows with the number of tokens, so the ratio falls towards the real size, and the arithmetic
of the real sizes is printed beside it. Where there is a GPU, tokens per second and the share of
the peak (MFU, recompute not counted) are printed too; the default size is then 1.3B.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from diffusers import WanTransformer3DModel

from training.model.audio_windows import num_latents
from training.model.transformer import AudioWanTransformer3DModel

SIZES = {
    "cpu": {
        "num_attention_heads": 4,
        "num_layers": 4,
        "ffn_dim": 2987,
        "added_kv_proj_dim": 512,
    },
    "1.3B": {
        "num_attention_heads": 12,
        "num_layers": 30,
        "ffn_dim": 8960,
        "added_kv_proj_dim": 1536,
    },
    "14B": {
        "num_attention_heads": 40,
        "num_layers": 40,
        "ffn_dim": 13824,
        "added_kv_proj_dim": 5120,
    },
}
ADAPTER = {
    "cpu": {"audio_width": 256, "audio_hidden_width": 170},
    "1.3B": {},
    "14B": {},
}
SHARED = {"attention_head_dim": 128, "in_channels": 36, "image_dim": 1280}
PICTURES = {"cpu": (17, 256, 256), "1.3B": (81, 480, 832), "14B": (81, 480, 832)}
TEXT_TOKENS, IMAGE_TOKENS = 512, 257

PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "4090": 165}
"""Dense bf16 with fp32 accumulation, of the vendor's data sheets."""


def main() -> None:
    options = _options()
    torch.set_num_threads(1 if options.device == "cpu" else 8)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    frames, height, width = PICTURES[options.size]
    shape = (
        num_latents(options.frames or frames),
        (options.height or height) // 8,
        (options.width or width) // 8,
    )
    torch.manual_seed(0)
    with torch.device(device):
        base = WanTransformer3DModel(**SIZES[options.size], **SHARED).to(dtype)
        ours = AudioWanTransformer3DModel(
            **SIZES[options.size], **SHARED, **ADAPTER[options.size]
        ).to(dtype)
    batch = _batch(shape, options.speakers, device, dtype)
    steps = {
        "diffusers": _Step(base, batch, {}, options),
        "adapted": _Step(ours, batch, {"audio_scope": options.scope}, options),
    }
    tokens = shape[0] * shape[1] // 2 * shape[2] // 2
    print(f"{options.size}, {tokens} tokens, {options.dtype}, {options.device}")
    print(f"  trained: {options.train}; {_counts(base, ours)}")
    times = _run(steps, options.pairs, device)
    for name, seconds in times.items():
        print(f"  {name:<10} {statistics.median(seconds):8.3f} s a step")
    ratios = [a / b for a, b in zip(times["adapted"], times["diffusers"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    print(f"  adapted / diffusers  {middle:.3f} (quartiles {low:.3f} to {high:.3f})")
    ratio = flops(options.size, shape, True) / flops(options.size, shape, False)
    print(f"  by arithmetic        {ratio:.3f}")
    for size in ("1.3B", "14B"):
        real = (21, 60, 104)
        ratio = flops(size, real, True) / flops(size, real, False)
        print(f"  by arithmetic, {size} at 81 x 480 x 832  {ratio:.3f}")
    if device.type == "cuda":
        _throughput(options, shape, tokens, statistics.median(times["adapted"]))


class _Step:
    """One model, its optimiser and what it is given."""

    def __init__(self, model, batch, more, options) -> None:
        self.model, self.batch, self.more = model, batch, more
        self.is_ours = isinstance(model, AudioWanTransformer3DModel)
        if options.recompute:
            model.enable_gradient_checkpointing()
        if options.train == "adapter":
            for name, parameter in model.named_parameters():
                # The bare model has no adapter: its last block stands in, so that there is a
                # gradient to follow through every block that the adapted model has to.
                trained = "audio_" in name if self.is_ours else name.startswith("patch_embedding")
                parameter.requires_grad_(trained)
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def __call__(self) -> None:
        given, audio, target = self.batch
        if self.is_ours:
            velocity = self.model(*given, audio, **self.more)
        else:
            velocity = self.model(*given, return_dict=False)[0]
        (velocity.float() - target).square().mean().backward()
        self.optimiser.step()
        self.optimiser.zero_grad()


def flops(size: str, shape: tuple[int, int, int], adapted: bool) -> float:
    """Multiply-adds of a forward pass, times two; backward is twice that for both."""
    config = SIZES[size]
    width, ffn = 128 * config["num_attention_heads"], config["ffn_dim"]
    tokens = shape[0] * (shape[1] // 2) * (shape[2] // 2)
    context = TEXT_TOKENS + IMAGE_TOKENS
    block = (
        tokens * (4 + 2) * width**2
        + context * 2 * width**2
        + tokens * 2 * width * ffn
        + 2 * tokens * (tokens + context) * width
    )
    if adapted:
        heard = shape[0] * 32 * 2 * ADAPTER[size].get("audio_width", 768) * width
        block += tokens * 2 * width**2 + heard + 2 * tokens * 32 * width
    return 2.0 * config["num_layers"] * block


def _batch(shape, speakers: int, device, dtype):
    latents, height, width = shape
    given = (
        torch.randn(1, 36, latents, height, width, device=device, dtype=dtype),
        torch.tensor([500.0], device=device),
        torch.randn(1, TEXT_TOKENS, 4096, device=device, dtype=dtype),
        torch.randn(1, IMAGE_TOKENS, 1280, device=device, dtype=dtype),
    )
    audio = torch.randn(1, speakers, latents, 8, 5, 1280, device=device, dtype=dtype)
    target = torch.randn(1, 16, latents, height, width, device=device)
    return given, audio, target


def _run(steps, pairs: int, device) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for pair in range(pairs):
        for name in list(steps)[:: 1 if pair % 2 else -1]:
            if device.type == "cuda":
                torch.cuda.synchronize()
                start = time.perf_counter()
                steps[name]()
                torch.cuda.synchronize()
                times[name].append(time.perf_counter() - start)
            else:
                start = time.process_time()
                steps[name]()
                times[name].append(time.process_time() - start)
    return times


def _throughput(options, shape, tokens: int, seconds: float) -> None:
    name = torch.cuda.get_device_name()
    peak = next((value for key, value in PEAK_TFLOPS.items() if key in name), None)
    done = 3 * flops(options.size, shape, True) / seconds / 1e12
    share = f"MFU {done / peak:.1%} of {peak} TFLOP/s" if peak else "peak unknown"
    print(f"  {name}: {tokens / seconds:,.0f} tokens/s, {done:.0f} TFLOP/s, {share}")
    print(f"  {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most")


def _counts(base, ours) -> str:
    base_count, all_count = (sum(p.numel() for p in m.parameters()) for m in (base, ours))
    return (
        f"{base_count / 1e6:.0f} M parameters and {(all_count - base_count) / 1e6:.0f} M of adapter"
    )


def _options() -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1.3B" if cuda else "cpu")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--dtype", default="bfloat16" if cuda else "float32")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--scope", choices=("window", "clip"), default="window")
    parser.add_argument("--speakers", type=int, default=1)
    parser.add_argument("--train", choices=("all", "adapter"), default="all")
    parser.add_argument("--recompute", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
