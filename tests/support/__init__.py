"""Toys, made-up stores and test benches that several test files share."""
