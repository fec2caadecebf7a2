"""A plugin file whose every text carries control codes and is far too long."""

ESCAPES = "\x1b[31m\x1b]0;title\x07\x1b]8;;http://x\x1b\\\x9b2J\x1bPq\x1b\\\x08\x0c\x7f\x85\u202e\u2066\u200f\u2028"
PLUGIN = '''
"""ESCAPESx"""
import os, sys, warnings
from dataclasses import dataclass
from w2s_bench import hookimpl
from w2s_bench.conformance.toy import ToyStudent, ToySupervisor, ToyTask

BAD = ESCAPES + "BEGIN" + "b" * 1_200_000 + "END" + ESCAPES
print(BAD)
print(BAD, file=sys.stderr)
warnings.warn(BAD)

class Mute(Exception):
    def __str__(self):
        raise RuntimeError(BAD)

class Talker:
    __doc__ = BAD
    source = BAD
    @dataclass
    class Options:
        text: str = BAD
        """ESCAPESx"""
        how: str = "raise"
        """What it does."""
    def __init__(self, options):
        self.how = options.how
    @hookimpl
    def revise_labels(self, labels, pool, round_plan):
        print(BAD)
        print(BAD, file=sys.stderr)
        if os.path.exists("log.txt") and os.path.samestat(os.fstat(2), os.stat("log.txt")):  # in a worker's process
            os.write(2, BAD.encode())
        if self.how == "mute":
            raise Mute()
        if self.how == "raise":
            raise ValueError(BAD)

class Quiet(Talker):
    """Says little."""
    @dataclass
    class Options:
        how: str = "nothing"
        """What it does."""

class BadTask(ToyTask):
    __doc__ = BAD
    def fingerprint(self):
        raise ValueError(BAD)

@hookimpl
def register_mitigations(register):
    register("talker", Talker)
    register("quiet", Quiet)
    register(BAD, Talker)
    register("wrong", Talker, nothing=BAD)
    register("wronger", Talker, **{BAD: 1})

@hookimpl
def register_tasks(register):
    register("bad_task", BadTask)

@hookimpl
def register_suites(register):
    raise ValueError(BAD)

@hookimpl
def register_metrics(register):
    register(BAD, lambda p, t: 0.0)

@hookimpl
def register_commands(cli):
    @cli.command(name="talk", help=BAD)
    def talk():
        print(ESCAPES, "the end")
    @cli.command(name="break", help=BAD)
    def break_():
        raise ValueError(BAD)
    @cli.command(name=BAD)
    def bad():
        pass

@hookimpl
def run_started(event):
    raise ValueError(BAD)
'''
