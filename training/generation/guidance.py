"""Classifier-free guidance over text, audio and image, as rules instead of code.

A rule is a base branch and weighted differences of branches:

    v = v_base + sum_k w_k(sigma) R_k (v_plus_k - v_minus_k)

Which branches a step needs follows from the weights at its sigma: the differences are written out
into one factor a branch, and a branch whose factor is zero is not computed. Every preset telescopes
to the branch with all conditions when its weights are one, so one is "no guidance".

In the room: branches, weights over sigma, rules, presets, region weighting, adaptive projection.
Not in the room: what a branch's conditions are (`pipeline`), and how a branch is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import torch

from training.errors import SettingError


class Condition(StrEnum):
    """What a branch hears or sees of one input.

    ON is what was given. OFF is the null that training drops to: empty text, features of zeros for
    audio, states of zeros for the picture. NEGATIVE is the negative prompt, and silence for audio,
    which is something else than no audio; a picture has no negative.
    """

    ON = "on"
    OFF = "off"
    NEGATIVE = "negative"


class Branch(NamedTuple):
    """One pass of the model."""

    text: Condition = Condition.ON
    audio: Condition = Condition.ON
    image: Condition = Condition.ON


class Decay(StrEnum):
    """How a weight moves from its value at sigma 1 to its end at sigma 0."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


@dataclass(frozen=True)
class Weight:
    """Weight of a difference over sigma.

    Attributes:
        value: at sigma 1, and everywhere if constant.
        decay: towards ``end``. Linear as HunyuanVideo-Avatar's 7.5 to 2, cosine as EchoMimicV3's
            ``(1 - cos(pi s^5)) / 2``; both of them count steps, here sigma, which is ours.
        end: at sigma 0.
        from_sigma: below, the weight is 1.
        to_sigma: above, the weight is 1.

    Raises:
        SettingError: If a number is out of its range.
    """

    value: float
    decay: Decay = Decay.CONSTANT
    end: float = 1.0
    from_sigma: float = 0.0
    to_sigma: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and math.isfinite(self.end)):
            raise SettingError(f"guidance weight {self.value} to {self.end}: has to be finite")
        if not 0 <= self.from_sigma < self.to_sigma <= 1:
            raise SettingError(
                f"guidance from sigma {self.from_sigma} to {self.to_sigma}: give two numbers in "
                "[0, 1], the lower one first"
            )

    def at(self, sigma: float) -> float:
        """Return the weight at a sigma."""
        if not self.from_sigma <= sigma <= self.to_sigma:
            return 1.0
        if self.decay is Decay.CONSTANT:
            return self.value
        share = sigma
        if self.decay is Decay.COSINE:
            share = (1 - math.cos(math.pi * sigma**5)) / 2
        return self.end + (self.value - self.end) * share


@dataclass(frozen=True)
class Difference:
    """A direction, and how far to go along it.

    Attributes:
        weight: how far.
        plus: branch with the condition.
        minus: branch without it.
        in_region: whether it is held to the face region.
    """

    weight: Weight
    plus: Branch
    minus: Branch
    in_region: bool = False


@dataclass(frozen=True)
class Projection:
    """Adaptive projected guidance (Sadat et al. 2024, arXiv 2410.02416), against over-saturation.

    Attributes:
        momentum: of the running difference; InfiniteTalk uses -0.75.
        max_norm: longer differences are shortened to it, a latent frame at a time; InfiniteTalk
            uses 55 at 480p. 0: none.
        parallel: share kept of what is parallel to the prediction, which is what saturates.
    """

    momentum: float = -0.75
    max_norm: float = 55.0
    parallel: float = 0.0


@dataclass
class GuidanceState:
    """What adaptive projection remembers from step to step; a fresh one for each sequence."""

    running: dict[int, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Guidance:
    """A rule.

    Attributes:
        base: branch it starts from.
        differences: what is added.
        outside_region: share of a difference with ``in_region`` that acts outside of the face
            region, in [0, 1]; 1: no region. Restricting what audio does to the face is done by
            Sonic, HunyuanVideo-Avatar and EchoMimicV3 in the model; on the guidance it is ours.
        projection: adaptive projection; ``None``: plain differences.

    Raises:
        SettingError: If the rule does not telescope, or a picture is negative.
    """

    base: Branch
    differences: tuple[Difference, ...] = ()
    outside_region: float = 1.0
    projection: Projection | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.outside_region <= 1:
            raise SettingError(f"outside_region {self.outside_region}: give a share in [0, 1]")
        named = [self.base, *(b for d in self.differences for b in (d.plus, d.minus))]
        if any(branch.image is Condition.NEGATIVE for branch in named):
            raise SettingError("guidance: a picture has no negative; use on or off")
        self.target()

    def target(self) -> Branch:
        """Return the branch that is left when every weight is one."""
        left = [b for b, f in _factors(self.base, self.differences, lambda _: 1.0).items() if f]
        if len(left) != 1:
            raise SettingError(
                f"guidance: with weights of one, {len(left)} branches are left instead of one; "
                "let each difference start where the base or another one ends"
            )
        return left[0]

    def branches(self, sigma: float) -> tuple[Branch, ...]:
        """Return the branches that have to be computed at a sigma, in the order of the rule."""
        return tuple(
            branch
            for branch, (outside, inside) in self._two_factors(sigma).items()
            if outside or inside
        )

    def combine(
        self,
        velocities: Mapping[Branch, torch.Tensor],
        sigma: float,
        region_BKhw: torch.Tensor | None = None,
        state: GuidanceState | None = None,
    ) -> torch.Tensor:
        """Return the guided velocity.

        Args:
            velocities: [B, C, K, h, w] of every branch of `branches`.
            sigma: of this step.
            region_BKhw: face region, 0 to 1; ``None``: everywhere is face.
            state: memory of the projection over the steps of one sequence.

        Returns:
            [B, C, K, h, w]; the only branch itself where one is enough.
        """
        factors = {b: f for b, f in self._two_factors(sigma).items() if f != (0.0, 0.0)}
        if len(factors) == 1:
            return velocities[next(iter(factors))]
        region = None if region_BKhw is None else region_BKhw.unsqueeze(1)
        if self.projection is not None:
            return self._projected(velocities, sigma, region, state or GuidanceState())
        total: torch.Tensor | None = None
        for branch, (outside, inside) in factors.items():
            velocity = velocities[branch]
            if region is None or outside == inside:
                part = velocity * inside
            else:
                part = velocity * (outside + (inside - outside) * region.to(velocity.dtype))
            total = part if total is None else total + part
        assert total is not None
        return total

    def _projected(
        self,
        velocities: Mapping[Branch, torch.Tensor],
        sigma: float,
        region: torch.Tensor | None,
        state: GuidanceState,
    ) -> torch.Tensor:
        assert self.projection is not None
        target = velocities[self.target()]
        guided = target
        for index, difference in enumerate(self.differences):
            extra = difference.weight.at(sigma) - 1
            if not extra:
                continue
            delta = velocities[difference.plus] - velocities[difference.minus]
            if index in state.running:
                delta = delta + self.projection.momentum * state.running[index]
            state.running[index] = delta
            step = extra * _projected(delta, target, self.projection)
            if difference.in_region and region is not None:
                step = step * (self.outside_region + (1 - self.outside_region) * region)
            guided = guided + step
        return guided

    def _two_factors(self, sigma: float) -> dict[Branch, tuple[float, float]]:
        """Factor of each branch outside and inside of the region."""
        inside = _factors(self.base, self.differences, lambda d: d.weight.at(sigma))
        if self.projection is not None:
            needed = {self.target()}
            for difference in self.differences:
                if difference.weight.at(sigma) != 1:
                    needed |= {difference.plus, difference.minus}
            return {b: (1.0, 1.0) if b in needed else (0.0, 0.0) for b in inside}

        def held(difference: Difference) -> float:
            # Outside, guidance fades towards a weight of one, which is no guidance, and not
            # towards zero, which would take the condition away.
            weight = difference.weight.at(sigma)
            if not difference.in_region:
                return weight
            return 1 + (weight - 1) * self.outside_region

        outside = _factors(self.base, self.differences, held)
        return {branch: (outside[branch], inside[branch]) for branch in inside}


def _factors(
    base: Branch, differences: tuple[Difference, ...], weight_of: Callable[[Difference], float]
) -> dict[Branch, float]:
    factors: dict[Branch, list[float]] = {base: [1.0]}
    for difference in differences:
        weight = weight_of(difference)
        factors.setdefault(difference.plus, []).append(weight)
        factors.setdefault(difference.minus, []).append(-weight)
    # Exact sums, so that 0.1 + 0.2 - 0.3 leaves no branch behind; below 1e-12 is nothing.
    sums = {branch: math.fsum(parts) for branch, parts in factors.items()}
    return {branch: value if abs(value) > 1e-12 else 0.0 for branch, value in sums.items()}


def _projected(delta: torch.Tensor, onto: torch.Tensor, projection: Projection) -> torch.Tensor:
    """Shorten a difference and take out what is parallel, a latent frame at a time."""
    frame = (1, 3, 4)
    delta, onto = delta.float(), onto.float()
    if projection.max_norm > 0:
        norm = torch.linalg.vector_norm(delta, dim=frame, keepdim=True).clamp_min(1e-12)
        delta = delta * (projection.max_norm / norm).clamp_max(1)
    unit = onto / torch.linalg.vector_norm(onto, dim=frame, keepdim=True).clamp_min(1e-12)
    parallel = (delta * unit).sum(dim=frame, keepdim=True) * unit
    return delta - (1 - projection.parallel) * parallel
