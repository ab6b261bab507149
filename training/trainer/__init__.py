"""The training loop and what surrounds it: parallelism, checkpoints, progress, cost on paper."""
