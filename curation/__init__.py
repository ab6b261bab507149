"""Curation: recipes, engines, the ledger, selection, packing and reports.

The only room of curation that knows Ray. What is measured is the business of ``stages``; what a
clip is and how it is written, that of ``manifests``.
"""

from curation.errors import CurationError
from curation.pipeline import Pipeline, build_pipeline
from curation.recipe import Recipe, load_recipe
from manifests.gates import Gate, Verdict, judge

__all__ = [
    "CurationError",
    "Gate",
    "Pipeline",
    "Recipe",
    "Verdict",
    "build_pipeline",
    "judge",
    "load_recipe",
]
