"""A benchmark in miniature, loaded like any third party's plugin file: `--plugins tests/support/toy.py`."""

from w2s_bench import hookimpl
from w2s_bench.conformance.toy import ToyStudent, ToySupervisor, ToyTask


@hookimpl
def register_tasks(register):
    register("toy", ToyTask)


@hookimpl
def register_supervisors(register):
    register("toy_weak", ToySupervisor, words=40)
    register("toy_weak_b", ToySupervisor, words=48)
    register("toy_strong", ToySupervisor)
    register("toy_noisy", ToySupervisor, flips=0.4)


@hookimpl
def register_students(register):
    register("toy", ToyStudent)
    register("toy_small", ToyStudent, width=16)
