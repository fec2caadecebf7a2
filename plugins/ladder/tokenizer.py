"""Words to token ids and back, with and without `transformers`."""

from __future__ import annotations

import json
from pathlib import Path

from w2s_bench.errors import UsageError
from w2s_bench.plugins.ladder import words

WORDS = words.vocabulary()
INDEX = {word: i for i, word in enumerate(WORDS)}


def encode(texts: list[str]) -> list[list[int]]:
    """Returns the token ids of texts in the world's words; UsageError names the first other word."""
    try:
        return [[INDEX[word] for word in text.split()] for text in texts]
    except KeyError as unknown:
        raise UsageError(
            f"the ladder reads only the {len(INDEX)} words of its own world, and {unknown} is none of them: "
            "use it with the tasks facts, sums and reviews, and another model (student=hf) for this task"
        ) from None


def decode(rows: list[list[int]]) -> list[str]:
    """Returns the texts of token ids."""
    return [" ".join(WORDS[i] for i in row) for row in rows]


def write(folder: Path) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`, from which AutoTokenizer makes the same ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(INDEX, unk_token=words.UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([words.PAD, words.UNKNOWN])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": words.PAD,
        "unk_token": words.UNKNOWN,
        "padding_side": "right",
        "model_max_length": 16,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
