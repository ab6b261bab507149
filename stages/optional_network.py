"""A network that a stage uses if it is wanted and here.

A setting chooses: ``auto``, where its packages and weights are on this machine; ``none``, never;
any other word is the network's own name and demands it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stages.environment import lacks, weights_digest

AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class OptionalNetwork:
    """One stage's choice, and what this machine has for it.

    Attributes:
        choice: ``auto``, ``none`` or its name.
        weights: the weights that the settings choose.
        missing: what this machine lacks, and how to get it; ``None`` if nothing.
    """

    choice: str
    weights: tuple[str, ...]
    missing: str | None

    @classmethod
    def look(
        cls, choice: str, packages: Iterable[str], weights: Iterable[str], install: str
    ) -> OptionalNetwork:
        """Look what is here; nothing is imported.

        Args:
            choice: ``auto``, ``none`` or its name.
            packages: packages it imports.
            weights: the weights that the settings choose.
            install: what installs the packages.

        Returns:
            The choice and what is missing for it.
        """
        chosen = tuple(weights)
        return cls(choice, chosen, lacks(packages, chosen, install))

    @property
    def is_used(self) -> bool:
        """Whether the stage loads it: if it is demanded, what is missing stops the run."""
        return self.choice != NONE and (self.choice != AUTO or self.missing is None)

    @property
    def unused_because(self) -> str | None:
        """Why the stage does without it, for a measurement."""
        return "backend none" if self.choice == NONE else self.missing

    def remark(self, used: str, unused: str) -> str | None:
        """What a user should know of ``auto``; see :meth:`stages.contract.Stage.remark`."""
        if self.choice != AUTO:
            return None
        return used if self.is_used else f"{unused}: {self.missing}"

    def lacking(self) -> str | None:
        """What is missing for a network that is demanded."""
        return self.missing if self.choice not in (AUTO, NONE) else None

    def digests(self) -> tuple[str, ...]:
        """Digests of the weights, if they are used."""
        return tuple(weights_digest(each) for each in self.weights) if self.is_used else ()
