"""Slow twins: every number once more, written from its definition, importing nothing of what it checks."""
