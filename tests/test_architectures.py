"""Twenty-three architectures of the hub: padding, all ways of tuning, writing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import architectures, hub

CODE = """
import json, sys
from support.architectures import FAMILIES, examine
for family in FAMILIES:
    try:
        seen = examine(f"acme/{family}")
    except Exception as error:
        seen = {"raised": repr(error)}
    print("SEEN " + json.dumps([family, seen]), flush=True)
"""


@pytest.mark.timeout(600)
def test_every_architecture_of_the_hub(tmp_path):
    pytest.importorskip("peft", reason="tune=lora needs the package peft, which is not installed")
    for family in architectures.FAMILIES:
        architectures.make(tmp_path / "hub" / "models" / "acme" / family, family)
    assert len(architectures.FAMILIES) == 23
    with hub.serve(tmp_path / "hub") as address:
        env = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": address}
        env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), env.get("PYTHONPATH", "")])
        ran = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    seen = dict(json.loads(line[5:]) for line in ran.stdout.splitlines() if line.startswith("SEEN "))
    assert set(seen) == set(architectures.FAMILIES)
    faults = {family: fault for family, result in seen.items() if (fault := fault_of(family, result))}
    assert faults == {}


def fault_of(family: str, seen: dict) -> str:
    """Returns what is wrong with a family's results, an empty text where nothing is."""
    if "raised" in seen:
        return seen["raised"]
    if seen["identity"].get("revision") != hub.COMMIT:
        return f"identity {seen['identity']}"
    if seen["padding"] > 2e-4:
        return f"features depend on the padding: {seen['padding']}"
    for tune in ("full", "lora", "probe"):
        result = seen[tune]
        if not result["finite"]:
            return f"{tune}: predictions are not finite"
        if bool(result["moved"]) != (tune == "full") or bool(result["adapters"]) != (tune == "lora"):
            return f"{tune}: moved {result['moved'][:3]}, {result['adapters']} adapters"
    writes = family in (*architectures.CAUSAL, "mamba")
    return "" if seen.get("written", False) == writes else f"written: {seen.get('written')}"
