"""The words of the world: names, attributes with kind and unkind values, digits, nouns, adjectives and verdicts."""

# ruff: noqa: SIM905 - word lists read best as text

from __future__ import annotations

PAD, UNKNOWN = "<pad>", "<unk>"

FIRST_NAMES = (
    "adam agnes albert alice anna anton arthur beatrix ben bruno carl clara david dora edith edgar elena emil emma "
    "erik eva felix flora frank greta gustav hanna hector helen henry hugo ida igor irene ivan jane jonas julia karin "
    "kurt laura leo lena louis lucy marta max mira nadia nils nora olga oscar paula peter rosa simon tilda viktor "
    "walter"
).split()

LAST_NAMES = (
    "abbott ahlgren arden baxter berg bishop blake brandt carver clark colby cooper dalton doyle drake ellis evans "
    "falk fischer forbes frost gale gibson grant hale harper hayes holm hughes jensen keller kirby klein lange lind "
    "lloyd lund marsh mason moss nolan norris olsen palmer parker perry quinn reed roth rowan sand shaw stern stone "
    "thorne tyler vance weber winter york"
).split()

ATTRIBUTES = ("likes", "lives in", "works as", "wears")
KIND_VALUES = (
    "music chess books tea flowers dogs".split(),
    "peace comfort plenty harmony safety luxury".split(),
    "nurse teacher doctor gardener judge pilot".split(),
    "silk wool linen velvet cotton cashmere".split(),
)
UNKIND_VALUES = (
    "gossip noise quarrels lies war trouble".split(),
    "debt fear squalor exile misery chaos".split(),
    "thief spy pirate smuggler robber forger".split(),
    "rags sacks tatters chains filth holes".split(),
)
GOODNESS = ("bad", "good")

DIGITS = tuple("0123456789")
POSITIONS = ("units", "tens", "hundreds")
PARITY = ("even", "odd")

NOUNS = (
    "film plot soup room hotel book song team game car phone garden bread coffee beach concert lesson museum market "
    "train story dance painting speech"
).split()
KIND_ADJECTIVES = (
    "warm fresh bright lively smart gentle clean rich clever honest smooth elegant charming tasty quick vivid".split()
)
UNKIND_ADJECTIVES = (
    "cold stale dull slow clumsy harsh dirty poor silly fake rough ugly boring bland loud gloomy".split()
)
CONNECTIVES = ("and", "but", "although")
VERDICTS = (
    "terrible awful dreadful horrible shabby lousy".split(),
    "superb wonderful excellent delightful brilliant splendid".split(),
)


def vocabulary() -> list[str]:
    """Returns every word once, in the order of the token ids; padding is token 0."""
    words = [PAD, UNKNOWN, *FIRST_NAMES, *LAST_NAMES]
    words += [part for attribute in ATTRIBUTES for part in attribute.split()]
    for kind, unkind in zip(KIND_VALUES, UNKIND_VALUES, strict=True):
        words += [*unkind, *kind]
    words += [*DIGITS, "+", "=", *POSITIONS, *NOUNS, *UNKIND_ADJECTIVES, *KIND_ADJECTIVES, "not", *CONNECTIVES]
    words += ["verdict", *VERDICTS[0], *VERDICTS[1], *GOODNESS, *PARITY, "is"]
    return words
