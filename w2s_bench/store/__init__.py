"""Stores of records, predictions and scores: reading, checking, packing and importing them."""
