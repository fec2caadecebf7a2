"""The board: statistics, tables and pages, made from records and score files alone. Imports no torch."""

from w2s_bench.board.build import Board, build_board

__all__ = ["Board", "build_board"]
