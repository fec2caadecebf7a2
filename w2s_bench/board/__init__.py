"""The board: statistics, tables and pages, made from records and score files alone. Imports no torch."""

import sys
from pathlib import Path
from types import ModuleType

from w2s_bench.board.build import Board, board, build_board

__all__ = ["Board", "build_board"]


class _CallablePackage(ModuleType):
    """This package, which is also the function `w2s_bench.board(STORE)`: one name cannot lead to two things."""

    def __call__(self, *stores: Path | str, suite: str | None = None) -> Board:
        """Returns the board of these stores; see `w2s_bench.board.build.board`."""
        return board(*stores, suite=suite)


sys.modules[__name__].__class__ = _CallablePackage
