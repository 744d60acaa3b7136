"""Shared tools of the Cyborg Data notebooks. Each file has one role; see the README's "Where things are"."""
