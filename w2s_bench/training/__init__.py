"""Runs in workers: the life of a weak label, from votes to a fitted student. Read `life.py` from top to bottom."""
