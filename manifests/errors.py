"""What can go wrong with stored things, as one tree.

ManifestError             catch this to catch everything raised here
├── StorageError          a file or folder cannot be reached, read or written
├── ShardError            a tar is not a shard of samples, or would not become one
├── DatasetError          a dataset is absent, or its parts disagree
└── SchemaError           a value or a record breaks the rule of its kind

A message names the place, the rule, the value that broke it, and the way out.
"""

from __future__ import annotations


class ManifestError(Exception):
    """Root of every error this package raises on purpose."""


class StorageError(ManifestError):
    """A file or folder cannot be reached, read or written."""


class ShardError(ManifestError):
    """A tar is not a shard of samples, or would not become one."""


class DatasetError(ManifestError):
    """A dataset is absent, or its parts disagree."""


class SchemaError(ManifestError):
    """A value or a record breaks the rule of its kind."""
