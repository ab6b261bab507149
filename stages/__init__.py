"""Stages: one measurement a file; plain objects that know no cluster.

The contract is in ``stages.contract``, the order of the stages in ``stages.registry``. Nothing
heavy is imported here.
"""
