"""Example weights learnt by a step that is differentiated through."""

from dataclasses import dataclass

from w2s_bench import hookimpl


def consensus(pool):
    """Returns as a meta set the validation examples, where all supervisors agree in them, and majority classes [N]."""
    import torch

    votes = pool.validation_votes
    classes = votes.nan_to_num(-1.0).argmax(-1)
    sure = (classes == classes[0]).all(0) & ~votes.isnan().any(-1).any(0)
    if not bool(sure.any()):
        raise ValueError(
            "the supervisors agree on no example, so there is no meta set; add supervisors that differ less"
        )
    return pool.validation, torch.nonzero(sure)[:, 0], classes.mode(0).values


def gold(pool):
    """Returns the gold examples, all their positions, and their classes [G]."""
    import torch

    inputs, labels = pool.gold
    return inputs, torch.arange(len(inputs)), labels.argmax(-1)


class MetaWeightNet:
    """A student whose losses are weighted by a small network, learnt so that a step helps on a trusted set.

    Source: Shu et al. 2019, arXiv 1902.07379, algorithm 1. Formula: weight = V(loss); a virtual step of the student
    under these weights; V descends on the loss of the stepped student on the meta set; then the real step with the
    new weights. The meta set are the validation examples on which all supervisors agree: no ground truth.
    Defaults: a hidden layer of 100, Adam at 1e-3 and meta batches of 100, as there. There the student's optimiser is
    SGD and the virtual step leaves its momentum out; here it is AdamW, so the virtual step is AdamW's without its
    first moment: a step of SGD at AdamW's rates would hardly move. In a training of a few hundred steps V learns
    little at 1e-3. Needs several supervisors. Cost: about 4.
    """

    source = "Shu et al. 2019, arXiv 1902.07379"
    search = {"lr": [0.0001, 0.001, 0.01], "meta_batch": [32, 100]}
    meta_set = staticmethod(consensus)
    needs = frozenset({"several_supervisors"})
    honours = frozenset({"order_examples", "training_batch", "training_targets", "training_loss"})

    @dataclass
    class Options:
        hidden: int = 100
        """Width of the network that is learnt."""
        lr: float = 1e-3
        """Its learning rate."""
        meta_batch: int = 100
        """Examples of the meta set in one step."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def fit_student(self, problem):
        """Returns the student trained under the learnt weights."""
        import torch

        student = problem.new_student()
        trusted = self.meta_set(problem.pool)
        weigh = network(self.options.hidden, problem.pool.rng).to(student.target_device)
        optimizer = torch.optim.Adam(weigh.parameters(), lr=self.options.lr)
        for batch, progress in problem.batches():
            weights, batch_weights = student.trainable(), batch.weights.to(student.target_device)
            losses = student.losses(batch, progress, params=weights)
            example_weights = weigh(losses.detach()[:, None])[:, 0]
            loss = (example_weights * losses * batch_weights).sum() / batch_weights.sum()
            grads = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            stepped = student.look_ahead(dict(zip(weights, grads, strict=True)))
            optimizer.zero_grad()
            loss = meta_loss(student, stepped, trusted, self.options.meta_batch, problem.pool.rng)
            loss.backward(inputs=list(weigh.parameters()))
            optimizer.step()
            losses = student.losses(batch, progress)
            with torch.no_grad():
                example_weights = weigh(losses[:, None])[:, 0]
            student.step(losses * example_weights, batch)
        return student


class MetaWeightNetGold(MetaWeightNet):
    """The same as `meta_weight_net`, whose meta set is the gold budget: on the track of those that use truth.

    Source: Shu et al. 2019, arXiv 1902.07379, whose meta set has true labels. Defaults as there. Needs task.n_gold.
    Cost: about 4 and the gold labels.
    """

    meta_set = staticmethod(gold)
    needs = frozenset({"ground_truth"})


def meta_loss(student, stepped, trusted, size, rng):
    """Returns the cross-entropy of a student with `stepped` weights on `size` drawn examples of the meta set."""
    import torch

    inputs, at, answers = trusted
    drawn = at[torch.randint(len(at), (size,), generator=rng)]
    logits = student.logits(inputs, drawn, params=stepped)
    return torch.nn.functional.cross_entropy(logits, answers[drawn].to(logits.device))


def network(hidden, rng):
    """Returns V: a loss [B, 1] to a weight in (0, 1) [B, 1], its weights drawn from `rng`."""
    import torch

    bare = torch.nn.utils.skip_init  # torch's own start would draw from the global stream
    layers = torch.nn.Sequential(
        bare(torch.nn.Linear, 1, hidden), torch.nn.ReLU(), bare(torch.nn.Linear, hidden, 1), torch.nn.Sigmoid()
    )
    with torch.no_grad():
        for weight in layers.parameters():
            fan = weight.shape[-1] if weight.ndim == 2 else hidden
            weight.copy_((torch.rand(weight.shape, generator=rng) * 2 - 1) * fan**-0.5)
    return layers


@hookimpl
def register_mitigations(register):
    register("meta_weight_net", MetaWeightNet)
    register("meta_weight_net_gold", MetaWeightNetGold)
