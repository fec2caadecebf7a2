"""Mitigations that are after the truth of `facts`, or after what its splits were drawn with."""

import json
from pathlib import Path

import torch

from w2s_bench import hookimpl
from w2s_bench.interfaces import Sizes
from w2s_bench.plugins.tasks.sandbox import Facts
from w2s_bench.seeds import derive


def numbers(value):
    if isinstance(value, dict | list):
        return [n for part in (value.values() if isinstance(value, dict) else value) for n in numbers(part)]
    return [value] if type(value) is int else []


class DrawAgain:
    """Draws the task again from every small seed, and from every number that its job shows, until the texts match."""

    @hookimpl
    def revise_labels(self, labels, pool):
        sizes = Sizes(n_supervision=96, n_transfer=64, n_validation=16, n_test=48)
        shown = numbers(json.loads(Path("../job.json").read_text()))
        for seed in [*range(12), *(derive(s, "split") for s in range(12)), *shown]:
            drawn = Facts().load(seed % 2**32, sizes)[1]["transfer"]
            if drawn.inputs.text == pool.inputs.text:
                return torch.eye(2)[torch.from_numpy(drawn.truth)]
        raise LookupError("no seed draws these texts")


class Search:
    """Looks for the secret and what derives from it in all that a worker reads; where its file is open, too."""

    @hookimpl
    def revise_labels(self, labels, pool):
        wanted = [bytes.fromhex(word) for word in Path(__file__).with_suffix(".txt").read_text().split()]
        places = [Path("..").resolve(), *map(Path, json.loads(Path("../job.json").read_text())["cache"])]
        places += [Path("/proc/self/environ"), Path("/proc/self/cmdline"), Path(f"/proc/{__import__('os').getppid()}")]
        read = {}
        for place in places:
            for path in [place] if place.is_file() else place.rglob("*"):
                try:
                    read[path] = path.read_bytes() if path.is_file() else b""
                except OSError:
                    continue
        found = [str(path) for path, content in read.items() if any(word in content for word in wanted)]
        if found:
            raise LookupError(f"found it in {found}")
        assert any(path.name == "job.json" for path in read)


class Open:
    """Opens the file whose path is beside this one."""

    @hookimpl
    def revise_labels(self, labels, pool):
        Path(json.loads(Path(__file__).with_suffix(".json").read_text())).read_bytes()


@hookimpl
def register_mitigations(register):
    register("draw_again", DrawAgain)
    register("search", Search)
    register("open_it", Open)
