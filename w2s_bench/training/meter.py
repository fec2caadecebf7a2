"""What a stage costs, counted while it runs."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field

from w2s_bench.jobs import Cost


@dataclass
class Meter:
    """Counters that everything in a worker adds to."""

    started: float = field(default_factory=time.perf_counter)
    """Moved back by the seconds of kept fits that were found, and of processes that were killed."""
    born: float = field(default_factory=time.perf_counter)
    steps: int = 0
    examples: int = 0
    tokens: int = 0
    flops: float = 0.0
    supervisor_calls: int = 0

    def trained(self, examples: int, tokens: int, weights: int) -> None:
        """Adds one forward and backward pass over a batch."""
        self.examples += examples
        self.tokens += tokens
        self.flops += 6.0 * weights * tokens

    def read(self, tokens: int, weights: int) -> None:
        """Adds one forward pass over a batch."""
        self.flops += 2.0 * weights * tokens

    def elapsed(self) -> float:
        """Returns the seconds that count so far."""
        return time.perf_counter() - self.started

    def cost(self, accelerator: str) -> Cost:
        """Returns the counts so far with the time and memory taken."""
        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        device = "cpu"
        if accelerator == "gpu":
            import torch

            device, memory = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated()
        return Cost(
            seconds=round(self.elapsed(), 4),
            device=device,
            peak_memory_bytes=memory,
            steps=self.steps,
            examples=self.examples,
            tokens=self.tokens,
            flops=self.flops,
            supervisor_calls=self.supervisor_calls,
        )
