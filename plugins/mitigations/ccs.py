"""Labels by contrast-consistent search: a direction of the features on which a statement and its negation disagree."""

from dataclasses import dataclass, replace

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.head_from_words import Words


class CCS:
    """Labels found in the student's features without any, their sign by the majority of the weak labels.

    Source: Burns et al. 2022, arXiv 2212.03827. Formula: features of each text followed by the first and by the
    second class's word (a pair: those of its two candidates), each set standardised by itself; p = sigmoid(v . h + b)
    minimises mean (p+ - (1 - p-))^2 + min(p+, p-)^2; the label is (p+ + 1 - p-) / 2, or its complement if that agrees
    with more weak labels. Defaults: 10 starts of 1,000 steps of AdamW at 1e-2, the one with the least loss, as there.
    Two classes. Cost: 1 and the features of two texts an example.
    """

    source = "Burns et al. 2022, arXiv 2212.03827"
    search = {"steps": [300, 1000], "lr": [0.003, 0.01, 0.03]}
    needs = frozenset({"features"})

    @dataclass
    class Options(Words):
        starts: int = 10
        """Random starts, of which the one with the least loss counts."""
        steps: int = 1000
        """Steps of each."""
        lr: float = 1e-2
        """Learning rate."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels, pool):
        """Returns labels [N, 2]."""
        import torch

        if labels.shape[-1] != 2:
            raise ValueError(f"ccs is for two classes; task {pool.task.name} has {labels.shape[-1]}")
        if pool.task.kind == "preference":
            negative, positive = pool.features
        else:
            negative, positive = (
                pool.features_of(replace(pool.inputs, text=[f"{text} {name}" for text in pool.inputs.text]))
                for name in self.options.of(pool.task)
            )
        negative, positive = ((f - f.mean(0)) / f.std(0).clamp(min=1e-6) for f in (negative, positive))
        p = search(negative, positive, self.options, pool.rng)
        weak = labels.argmax(-1)
        if int(((p > 0.5).long() == weak).sum()) * 2 < len(weak):
            p = 1 - p
        return torch.stack([1 - p, p], -1).to(labels.dtype)


def contrast_loss(p_negative, p_positive):
    """Returns the loss [...] of probabilities [..., N] of the two statements of each pair."""
    import torch

    consistency = (p_positive - (1 - p_negative)).square()
    confidence = torch.minimum(p_positive, p_negative).square()
    return (consistency + confidence).mean(-1)


def search(negative, positive, options, rng):
    """Returns the probability [N] that the second statement of each pair is true, up to its sign."""
    import torch

    bound = negative.shape[-1] ** -0.5
    direction = (torch.rand(options.starts, negative.shape[-1], generator=rng) * 2 - 1) * bound
    offset = (torch.rand(options.starts, 1, generator=rng) * 2 - 1) * bound
    weights = [direction.requires_grad_(), offset.requires_grad_()]
    optimizer = torch.optim.AdamW(weights, lr=options.lr)

    def probabilities():
        return ((direction @ f.T + offset).sigmoid() for f in (negative, positive))

    with torch.enable_grad():
        for _ in range(options.steps):
            optimizer.zero_grad()
            contrast_loss(*probabilities()).sum().backward()
            optimizer.step()
    with torch.no_grad():
        p_negative, p_positive = probabilities()
        best = contrast_loss(p_negative, p_positive).argmin()
        return (p_positive[best] + 1 - p_negative[best]) / 2


@hookimpl
def register_mitigations(register):
    register("ccs", CCS)
