"""Errors of training and generation; every message has the rule, the value and the way out.

TalkError
├── SettingError      a recipe, option or combination of both cannot be
├── ModelError        a base model, adapter or checkpoint is not what it has to be
├── DataError         a dataset cannot be trained on as asked
├── InputError        what was given to generate, edit or evaluate cannot be used
└── DivergedError     a loss or gradient is not finite
"""

from __future__ import annotations


class TalkError(Exception):
    """Whatever training and generation refuse to do."""


class SettingError(TalkError):
    """A recipe, an option or their combination cannot be."""


class ModelError(TalkError):
    """A base model, an adapter or a checkpoint is not what it has to be."""


class DataError(TalkError):
    """A dataset cannot be trained on as asked."""


class InputError(TalkError):
    """What was given to generate, edit or evaluate cannot be used."""


class DivergedError(TalkError):
    """A loss or a gradient is not finite; training stopped before the optimiser moved."""
