"""Shared tools of the Cyborg Data notebooks. Each file has one role; see CONTRIBUTING.md for the rooms."""
