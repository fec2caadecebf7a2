"""Mitigations, one file each. Cost is relative to `naive`."""
