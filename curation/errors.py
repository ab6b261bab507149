"""Errors of curation.

CurationError                 the user can mend it; one line, exit code 2
├── RecipeError               a recipe or an override is wrong
├── PipelineError             the stages do not fit together
├── InputError                an input does not exist or cannot be listed
├── RunError                  a run directory cannot be used as asked
└── EngineError               the cluster cannot do what the plan asks
"""

from __future__ import annotations


class CurationError(Exception):
    """Base of all errors that the user can mend."""


class RecipeError(CurationError):
    """A recipe or an override is wrong."""


class PipelineError(CurationError):
    """The stages do not fit together."""


class InputError(CurationError):
    """An input does not exist or cannot be listed."""


class RunError(CurationError):
    """A run directory cannot be used as asked."""


class EngineError(CurationError):
    """The cluster cannot do what the plan asks."""
