"""What a run says of itself: a line on the terminal and curves for TensorBoard.

Not here: what is measured (`step.py`) and pictures of validation clips (`previews.py`).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from training.trainer.step import StepReport


@dataclass
class Meter:
    """Sums since the last line.

    Attributes:
        clock: seconds, monotonic; passed in by tests.
    """

    clock: Any = time.perf_counter
    num_steps: int = 0
    num_clips: int = 0
    num_tokens: int = 0
    flops: float = 0.0
    data_wait_s: float = 0.0
    since_s: float = field(default=0.0)
    reports: list[StepReport] = field(default_factory=list)

    def restart(self) -> None:
        """Forget everything and start the clock."""
        self.num_steps = self.num_clips = self.num_tokens = 0
        self.flops = self.data_wait_s = 0.0
        self.since_s = self.clock()
        self.reports = []

    def add(self, report: StepReport, data_wait_s: float, flops: float) -> None:
        """Add a step."""
        self.num_steps += 1
        self.num_clips += report.num_clips
        self.num_tokens += report.num_tokens
        self.data_wait_s += data_wait_s
        self.flops += flops
        self.reports.append(report)

    def mean(self, name: str) -> float:
        """Return the mean of a number over the steps that have it; NaN if none has."""
        values = [
            value for report in self.reports if not math.isnan(value := getattr(report, name))
        ]
        return sum(values) / len(values) if values else math.nan

    def rates(self, peak_flops_per_s: float | None) -> dict[str, float]:
        """Return speeds since the last line; MFU only where the devices' peak is known."""
        elapsed_s = max(self.clock() - self.since_s, 1e-9)
        rates = {
            "clips_per_s": self.num_clips / elapsed_s,
            "tokens_per_s": self.num_tokens / elapsed_s,
            "data_wait_ratio": self.data_wait_s / elapsed_s,
            "step_s": elapsed_s / max(self.num_steps, 1),
        }
        if peak_flops_per_s:
            rates["mfu"] = self.flops / elapsed_s / peak_flops_per_s
        return rates


class Progress:
    """Lines and curves of one run; only the first rank has one that speaks.

    Args:
        folder: of the run; curves go to its ``tensorboard`` folder.
        total_steps: steps that the curriculum lasts at most.
        console: where lines go; ``None`` writes none.
        peak_flops_per_s: of all devices together; ``None`` if unknown.
    """

    def __init__(
        self,
        folder: Path,
        total_steps: int,
        console: Console | None,
        peak_flops_per_s: float | None = None,
    ) -> None:
        # Its import takes a second and only runs need it.
        from torch.utils.tensorboard import SummaryWriter

        self.total_steps = total_steps
        self.console = console
        self.peak_flops_per_s = peak_flops_per_s
        self.meter = Meter()
        self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.meter.restart()

    def line(self, step: int, phase_name: str, learning_rate: float) -> None:
        """Say where the run is, and write its curves; losses are means since the line before.

        Args:
            step: steps done.
            phase_name: of the phase that the step belongs to.
            learning_rate: of the last step.
        """
        loss, face, lips = (self.meter.mean(name) for name in ("loss", "face_loss", "lip_loss"))
        gradient_norm = self.meter.mean("gradient_norm")
        rates = self.meter.rates(self.peak_flops_per_s)
        left_s = rates["step_s"] * (self.total_steps - step)
        values = {
            "loss/all": loss,
            "loss/plain": self.meter.mean("plain_loss"),
            "loss/face": face,
            "loss/lips": lips,
            "gradient_norm": gradient_norm,
            "learning_rate": learning_rate,
            "time_left_s": left_s,
            **{f"speed/{name}": value for name, value in rates.items()},
        }
        for name, value in values.items():
            if not math.isnan(value):
                self.writer.add_scalar(name, value, step)
        if self.console is not None:
            mfu = f"  mfu {rates['mfu']:.1%}" if "mfu" in rates else ""
            self.console.print(
                f"{phase_name} {step}/{self.total_steps}  loss {loss:.4f}  "
                f"face {_number(face)}  lips {_number(lips)}  "
                f"grad {gradient_norm:.3g}  lr {learning_rate:.2g}  "
                f"{rates['tokens_per_s']:.0f} tokens/s  {rates['clips_per_s']:.2f} clips/s{mfu}  "
                f"data wait {rates['data_wait_ratio']:.0%}  left {duration_text(left_s)}",
                highlight=False,
                soft_wrap=True,
            )
        self.meter.restart()

    def say(self, text: str) -> None:
        """Print a sentence."""
        if self.console is not None:
            self.console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def duration_text(seconds: float) -> str:
    """Return hours and minutes, or minutes and seconds, of a length of time."""
    whole = max(round(seconds), 0)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s"
