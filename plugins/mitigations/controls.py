"""Controls: rows that must come out as expected; a board on which they do not is not to be believed."""

from w2s_bench import hookimpl
from w2s_bench.interfaces import TASK_KINDS


class Majority:
    """Labels that all name the class most common among the weak labels: the student learns a constant. Control."""

    control = True

    @hookimpl
    def revise_labels(self, labels):
        """Returns the same one-hot label for all."""
        import torch

        most = labels.mean(0).argmax()
        return torch.nn.functional.one_hot(most, labels.shape[-1]).to(labels.dtype).expand_as(labels).clone()


class OracleFilter:
    """Weight 1 for the examples whose weak label is right, 0 for the others: what a filter could gain at most. Control.

    The only mitigation that sees the truth of the transfer split; its rows are on the track of those that use truth. An
    example without a label keeps its weight. Cost: 1.
    """

    control = True
    needs = frozenset({"transfer_truth"})

    @hookimpl
    def weigh_examples(self, labels, pool):
        """Returns weights [N] of 0 and 1."""
        right = labels.argmax(-1) == pool.transfer_truth.argmax(-1).to(labels.device)
        return (right | labels.isnan().any(-1)).to(labels.dtype)


class RandomLabels:
    """Labels drawn at random at the weak labels' class shares: the student must end at chance. Control.

    In a generation task the weak answers in random order: everybody's answer to somebody else's question.
    """

    control = True
    kinds = frozenset(TASK_KINDS)

    @hookimpl
    def revise_labels(self, labels, pool):
        """Returns random one-hot labels."""
        import torch

        if pool.task.kind == "generation":
            answers = pool.answers_of(labels)
            known = torch.tensor(
                [n for n, answer in enumerate(answers) if answer]
            )  # where nobody answered, nothing changes
            shuffled = known[torch.randperm(len(known), generator=pool.rng)]
            revised = labels.clone()
            revised[known] = pool.labels_for([answers[n] for n in shuffled.tolist()], known).to(labels.dtype)
            return revised
        drawn = torch.multinomial(labels.mean(0), len(labels), replacement=True, generator=pool.rng)
        return torch.nn.functional.one_hot(drawn, labels.shape[-1]).to(labels.dtype)


class Identity:
    """Label smoothing, self-entropy and auxiliary confidence at strength 0: must equal naive bit for bit. Control.

    It draws random numbers on the way, so that a harness whose streams leak into each other shows.
    """

    control = True
    kinds = frozenset(TASK_KINDS)

    @hookimpl
    def revise_labels(self, labels, pool):
        """Returns labels smoothed by nothing."""
        import torch

        noise = torch.rand(labels.shape, generator=pool.rng)
        return (1 - 0.0) * labels + 0.0 * noise

    @hookimpl
    def weigh_examples(self, labels):
        """Returns ones."""
        return labels.new_ones(len(labels))

    @hookimpl(wrapper=True)
    def training_targets(self, logits):
        """Returns the targets, bent by nothing."""
        targets = yield
        predicted = logits.detach().softmax(-1)
        return (1 - 0.0) * targets + 0.0 * predicted

    @hookimpl(wrapper=True)
    def training_loss(self):
        """Returns the loss as it is."""
        return (yield)


@hookimpl
def register_mitigations(register):
    register("majority", Majority)
    register("random_labels", RandomLabels)
    register("identity", Identity)
    register("oracle_filter", OracleFilter)
