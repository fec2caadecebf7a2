"""The engine `inline`: all stages in this process, for a debugger."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from w2s_bench.referee import server
from w2s_bench.referee.engines.contract import Ended, Submission
from w2s_bench.referee.engines.local import describe_exit, read_failure
from w2s_bench.referee.environment import HIDDEN
from w2s_bench.store.escape import GuardedStream, of_error


@contextlib.contextmanager
def _logged(log: Path) -> Iterator[None]:
    """Writes what is printed into a log too; on the screen, lines are cut."""
    with open(log, "a", encoding="utf-8", errors="backslashreplace") as file:
        out, err = (GuardedStream(stream, copy=file, width=1000) for stream in (sys.stdout, sys.stderr))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield


class InlineEngine:
    """Runs each stage in this process, at once: for a debugger. No isolation, no walls and no time limit."""

    name: ClassVar[str] = "inline"
    walled: ClassVar[bool] = False
    remote: ClassVar[bool] = False
    outlives: ClassVar[bool] = False
    slots: ClassVar[int] = 1
    room: ClassVar[int] = 1
    resubmit: ClassVar[int | None] = None

    def __init__(self) -> None:
        self._ended: list[Ended] = []

    def submit(self, submission: Submission) -> None:
        """Runs a stage, without the variables that workers do not see."""
        key, folder = submission.key, submission.folder
        kept, here, temporary, started = dict(os.environ), os.getcwd(), tempfile.tempdir, time.monotonic()
        code: Any = 0
        trace = ""
        try:
            for name in HIDDEN:
                os.environ.pop(name, None)
            server.settle(str(folder))
            with _logged(folder / "log.txt"):
                server.call(submission.target, str(folder))
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code, trace = of_error(error), traceback.format_exc()
        finally:
            os.chdir(here)
            tempfile.tempdir = temporary
            os.environ.clear()
            os.environ.update(kept)
        message, details = read_failure(folder)
        seconds = time.monotonic() - started
        if not code and message is None:
            self._ended.append(Ended(key, "ok", "", "", seconds))
        else:
            reason = message or (describe_exit(code) if isinstance(code, int) else str(code))
            self._ended.append(Ended(key, "failed", reason, trace + details, seconds))

    def adopt(self, key: str) -> Path | None:
        """Returns None: what ran ended with its referee."""
        return None

    def running(self) -> list[str]:
        """Returns an empty list: the referee waits while a stage runs."""
        return []

    def wait(self, seconds: float) -> list[Ended]:
        """Returns what has ended."""
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Nothing runs."""
