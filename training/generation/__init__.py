"""Talking portraits from a trained model: guidance, windows, editing, streaming."""
