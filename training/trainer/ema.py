"""A moving average of the weights, in float32, as the checkpoint's second set of weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class MovingAverage:
    """An exponential moving average of named parameters.

    The decay warms up as ``min(decay, (1 + n) / (10 + n))``, n updates done, so that a short run is
    not an average with its beginning (TensorFlow's ``ExponentialMovingAverage`` has this form).

    Its averages are sharded as the parameters are.

    Args:
        parameters: what is averaged, by name.
        decay: share of an average that an update keeps, once it has warmed up.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.averages = {
            name: parameter.detach().float().clone() for name, parameter in parameters.items()
        }

    @torch.no_grad()
    def update(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Move every average towards its parameter.

        Args:
            parameters: the names given at the start, or some of them.
        """
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        averages = [self.averages[name] for name in parameters]
        torch._foreach_lerp_(averages, [p.detach().float() for p in parameters.values()], 1 - decay)
