"""Runs in workers: training on weak labels, from votes to a fitted student. Read `loop.py` from top to bottom."""
