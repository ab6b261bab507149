"""``talk plan``: a recipe's memory, tokens, speed and cost on paper, as a table or JSON.

Not here: the formulas (`cost.py`) and sizes (`shapes.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from rich.console import Console
from rich.table import Table

from training.errors import SettingError
from training.recipe import Recipe
from training.trainer.cost import GIB, Machine, PhaseCost, largest_clip, phase_cost
from training.trainer.progress import duration_text
from training.trainer.shapes import (
    TransformerShape,
    adapter_parameters,
    base_parameters,
    lora_parameters,
    shape_of,
)


@dataclass(frozen=True)
class Plan:
    """A recipe on paper.

    Attributes:
        recipe: what is planned.
        shape: of the model.
        machine: the paper machine with its assumptions.
        num_lora: parameters of LoRA.
        costs: by number of GPUs, one a phase.
    """

    recipe: Recipe
    shape: TransformerShape
    machine: Machine
    num_lora: int
    costs: dict[int, tuple[PhaseCost, ...]]


def make_plan(
    recipe: Recipe, num_gpus: Sequence[int], mfu: float | None = None, price: float | None = None
) -> Plan:
    """Estimate a recipe.

    Args:
        recipe: as checked.
        num_gpus: numbers of GPUs.
        mfu: share of the peak that is assumed; ``None``: the paper machine's.
        price: of a GPU hour; ``None``: the paper machine's.

    Returns:
        The estimate.

    Raises:
        SettingError: a number of GPUs or the share cannot be, or the model's size is not known.
    """
    if min(num_gpus) < 1:
        raise SettingError(f"--gpus {min(num_gpus)}: has to be 1 or more")
    machine = Machine()
    if mfu is not None:
        if not 0 < mfu <= 1:
            raise SettingError(f"--mfu {mfu}: has to be above 0 and at most 1")
        machine = replace(machine, assumed_mfu=mfu)
    if price is not None:
        machine = replace(machine, price_per_gpu_hour=price)
    shape = shape_of(recipe.model)
    lora = recipe.model.lora
    num_lora = lora_parameters(shape, lora.rank, lora.targets) if lora else 0
    costs = {
        number: tuple(
            phase_cost(shape, phase, number, machine, num_lora) for phase in recipe.phases
        )
        for number in num_gpus
    }
    return Plan(recipe, shape, machine, num_lora, costs)


def plan_json(plan: Plan) -> str:
    """Return a plan as JSON text."""
    costs = {
        str(number): [
            {
                "phase": phase.name,
                **asdict(cost),
                "memory_gib": cost.memory.total / GIB,
                "step_s": cost.step_s,
                "hours": cost.hours,
                "tokens_per_s": cost.tokens_per_s,
                "price": cost.hours * number * plan.machine.price_per_gpu_hour,
            }
            for phase, cost in zip(plan.recipe.phases, of_number, strict=True)
        ]
        for number, of_number in plan.costs.items()
    }
    record = {
        "recipe": plan.recipe.name,
        "base_parameters": base_parameters(plan.shape),
        "adapter_parameters": adapter_parameters(plan.shape),
        "lora_parameters": plan.num_lora,
        "machine": asdict(plan.machine),
        "gpus": costs,
    }
    return json.dumps(record, indent=2)


def print_plan(plan: Plan, console: Console | None = None) -> None:
    """Print a plan as a table with its assumptions below."""
    console = console or Console(width=132)
    shape, machine = plan.shape, plan.machine
    lora = f", LoRA {plan.num_lora / 1e9:.3f} B" if plan.num_lora else ""
    console.print(
        f"{plan.recipe.name}: base {base_parameters(shape) / 1e9:.3f} B parameters, adapter "
        f"{adapter_parameters(shape) / 1e9:.3f} B{lora}",
        highlight=False,
    )
    for number, costs in plan.costs.items():
        console.print(_table(plan, number, costs))
    console.print(
        f"On paper: {machine.name}, {machine.peak_flops_per_s / 1e12:.0f} TFLOP/s dense bfloat16 "
        f"(data sheet), MFU {machine.assumed_mfu:.0%} and {machine.price_per_gpu_hour:g} a GPU "
        "hour assumed (ours, --mfu, --price). Memory is weights, gradients, AdamW, average, two "
        "gathered blocks and activations with recompute; not in it: encoders and codec (none when "
        "latents are precomputed), CUDA and NCCL. Phases that end on a plateau end earlier.",
        highlight=False,
    )


def _table(plan: Plan, number: int, costs: tuple[PhaseCost, ...]) -> Table:
    machine = plan.machine
    table = Table(title=f"{number} GPU{'s' if number > 1 else ''}", title_justify="left")
    for name in ("phase", "clip", "moves"):
        table.add_column(name)
    for name in ("tokens/clip", "clips/step", "GiB/GPU", "s/step", "tokens/s", "hours", "cost"):
        table.add_column(name, justify="right")
    for phase, cost in zip(plan.recipe.phases, costs, strict=True):
        clip = largest_clip(phase)
        memory_gib = cost.memory.total / GIB
        fits = "" if memory_gib <= machine.memory_gib else " does not fit"
        table.add_row(
            phase.name,
            f"{clip.width_px}x{clip.height_px}x{clip.num_frames}",
            f"{cost.num_moving / 1e9:.3f} B",
            f"{cost.tokens_per_clip:,}",
            str(cost.clips_per_step),
            f"{memory_gib:.1f}{fits}",
            f"{cost.step_s:.1f}",
            f"{cost.tokens_per_s:,.0f}",
            f"{cost.hours:,.1f}",
            f"{cost.hours * number * machine.price_per_gpu_hour:,.0f}",
        )
    total_h = sum(cost.hours for cost in costs)
    table.caption = (
        f"all phases {duration_text(total_h * 3600)}, "
        f"{total_h * number * machine.price_per_gpu_hour:,.0f}"
    )
    return table
