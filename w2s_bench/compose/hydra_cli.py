"""Hydra's own command line for `w2s run`: --cfg, --info, --help, --hydra-help and shell completion."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from w2s_bench.compose import runs, schemas
from w2s_bench.compose.overrides import for_hydra
from w2s_bench.errors import UsageError
from w2s_bench.registry import Registry, load

FLAGS = ("--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--shell-completion", "-sc")
"""With one of these `w2s run` is answered by Hydra."""
COMPANION_FLAGS = ("--package", "-p", "--resolve", "--config-name", "-cn", "--config-dir", "-cd", "-m", "--multirun")
"""What may go with them."""


def show(args: Sequence[str], registry: Registry) -> None:
    """Prints Hydra's answer; UsageError names what is wrong with the overrides."""
    schemas.register(registry)
    hydra_errors = io.StringIO()
    overrides = [a for a in args if "=" in a and not a.startswith("-")]
    flags = [a for a in args if a not in overrides]
    try:
        # argparse takes overrides in one place alone
        with _arguments([*map(for_hydra, overrides), *flags]), contextlib.redirect_stderr(hydra_errors):
            _main()()
    except SystemExit as e:
        if e.code == 2:  # argparse, with its usage above the line that counts
            line = hydra_errors.getvalue().strip().splitlines()[-1]
            raise UsageError(f"{line.partition('error: ')[2] or line}; `w2s run --help`") from None
        sys.stderr.write(hydra_errors.getvalue())
        raise
    except (HydraException, OmegaConfBaseException) as e:
        runs.cells(overrides, False, registry)  # compose raises the clearer error
        raise UsageError(" ".join(str(e).split())) from e
    sys.stderr.write(hydra_errors.getvalue())


def complete(args: Sequence[str]) -> None:
    """Answers Hydra's shell completion, which leaves the verb out, and exits."""
    line = os.environ.get("COMP_LINE", "")
    if line and not re.match(r"\S+\s+run\s", line):
        sys.exit(0)  # another verb: Hydra knows nothing about it
    os.environ["COMP_LINE"] = re.sub(r"^(\S+)\s+run\s", r"\1 ", line)
    show(args, load())
    sys.exit(0)


def _main() -> Any:
    import hydra

    return hydra.main(version_base="1.3", config_path=schemas.CONF, config_name="run")(_never)


def _never(cfg: Any) -> None:
    raise AssertionError("Hydra was asked to show, not to run")


@contextlib.contextmanager
def _arguments(args: Sequence[str]) -> Iterator[None]:
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *args]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises instead of printing and leaving
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
