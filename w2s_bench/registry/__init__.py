"""What plugins brought: discovery, tolerant loading, options, and the rules by which mitigations stack."""

from w2s_bench.registry.checks import problem_of_class
from w2s_bench.registry.registry import PLUGIN_KINDS, PLURALS, Registration, Registry, load

__all__ = ["PLUGIN_KINDS", "PLURALS", "Registration", "Registry", "load", "problem_of_class"]
