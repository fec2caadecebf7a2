"""Labels weighed by how steady the supervisor is when the text changes a little."""

from dataclasses import dataclass, replace

from w2s_bench import hookimpl


class ReliabilityWeights:
    """Weights that are the share of perturbed texts to which the supervisor gives the same answer.

    Source: Guo & Yang 2024, arXiv 2406.19032 (reliability-aware alignment, weighting by the agreement of several weak
    answers). Formula: weight_n = share of `draws` perturbed copies of text n whose likeliest class is that of the
    label. There the weak model answers paraphrases; here each word is dropped with probability `drop`. Defaults: 4
    draws and .15, fixed before any run. Asks the supervisor for labels during training. Cost: 1 and `draws`
    supervisor calls an example.
    """

    source = "Guo & Yang 2024, arXiv 2406.19032"
    search = {"draws": [2, 4, 8], "drop": [0.1, 0.15, 0.3]}
    needs = frozenset({"label"})

    @dataclass
    class Options:
        draws: int = 4
        """Perturbed copies of each text."""
        drop: float = 0.15
        """Probability that a word is left out."""

        def __post_init__(self):
            if self.draws < 1 or not 0 <= self.drop < 1:
                raise ValueError(f"draws must be 1 or more and drop in [0, 1), not {self.draws} and {self.drop}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def weigh_examples(self, labels, pool):
        """Returns weights [N] in [0, 1]; where no answer is steady, ones."""
        weights = steadiness(labels.argmax(-1), pool, self.options.draws, self.options.drop, pool.rng)
        return weights if bool((weights > 0).any()) else labels.new_ones(len(labels))


def steadiness(classes, pool, draws, drop, rng):
    """Returns the share [N] of perturbed texts to which the reference supervisor answers `classes` [N]."""
    import torch

    same = torch.zeros(len(classes))
    for _ in range(draws):
        votes = pool.supervisors[0].label(perturbed(pool.inputs, drop, rng))
        same += (votes.nan_to_num(-1.0).argmax(-1) == classes) & ~votes.isnan().any(-1)
    return same / draws


def perturbed(inputs, drop, rng):
    """Returns the inputs with each word left out with probability `drop`, one word at least kept."""
    import torch

    def shortened(texts):
        out = []
        for text in texts:
            words = text.split(" ")
            kept = torch.rand(len(words), generator=rng) >= drop
            kept[torch.randint(len(words), (1,), generator=rng)] = True
            out.append(" ".join(w for w, k in zip(words, kept.tolist(), strict=True) if k))
        return out

    other = None if inputs.other is None else shortened(inputs.other)
    return replace(inputs, text=shortened(inputs.text), other=other)


@hookimpl
def register_mitigations(register):
    register("reliability_weights", ReliabilityWeights)
