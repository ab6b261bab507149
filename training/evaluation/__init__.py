"""Judging generated clips: measured by a curation run, compared with a reference."""
