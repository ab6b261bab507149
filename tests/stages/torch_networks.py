"""Random weights under which a deep network still tells its inputs apart."""

from __future__ import annotations

from typing import Any


def settled(network: Any, seed: int) -> Any:
    """Give a network random weights that keep the size of what flows through it."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            elif name.endswith("running_mean"):
                value.normal_(0, 0.2, generator=generator)
            elif value.ndim >= 2:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
    return network.eval()
