"""Training of the talking-portrait model on what curation made."""
