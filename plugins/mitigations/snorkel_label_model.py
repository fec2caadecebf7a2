"""Labels from several supervisors, each weighed by how often it agrees with the others."""

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.dawid_skene import one_hot_votes


class SnorkelLabelModel:
    """The posterior of each example's class under accuracies that are read off the supervisors' agreement.

    Source: Ratner et al. 2019, arXiv 1810.02840 (matrix completion), for voters that err independently given the
    class and alike on all classes. Formula: with A_jk the share of examples on which j and k agree among those on
    which both vote, M_jk = (C A_jk - 1) / (C - 1) = b_j b_k off the diagonal; b is the least-squares fit of rank 1,
    taken positive, and accuracy a_k = (1 + (C - 1) b_k) / C. Labels are proportional to s_c prod_k P(vote_k | c),
    which is a_k where k votes for c and (1 - a_k) / (C - 1) elsewhere; s is the share of votes for c. With two
    supervisors both get the same accuracy. Needs several supervisors. Cost: 1 and the other supervisors.
    """

    source = "Ratner et al. 2019, arXiv 1810.02840"
    needs = frozenset({"several_supervisors"})

    @hookimpl
    def combine_votes(self, votes):
        """Returns labels [N, C]; a row of NaN where all abstain."""
        import torch

        cast = one_hot_votes(votes)
        classes = votes.shape[-1]
        accuracy = accuracies(cast)[:, None, None]
        missed = (1 - accuracy) / (classes - 1)
        shares = cast.sum((0, 1)) / cast.sum()
        evidence = torch.where(cast > 0, accuracy.log(), missed.log()) * cast.sum(-1, keepdim=True)
        labels = (shares.clamp(min=1e-12).log() + evidence.sum(0)).softmax(-1).to(votes.dtype)
        labels[cast.sum((0, 2)) == 0] = torch.nan
        return labels


def accuracies(cast):
    """Returns the accuracy of each supervisor [K], from one-hot votes [K, N, C], between 1 / C and 1."""
    import torch

    k, _, classes = cast.shape
    together = torch.einsum("jn,kn->jk", cast.sum(-1), cast.sum(-1))
    agree = torch.einsum("jnc,knc->jk", cast, cast) / together.clamp(min=1)
    moments = (classes * agree - 1) / (classes - 1)
    known = (together > 0) & ~torch.eye(k, dtype=torch.bool)
    mean = moments[known].clamp(1e-4, 1 - 1e-3).mean() if bool(known.any()) else moments.new_tensor(0.25)
    strength = mean.sqrt().expand(k).clone()
    for _ in range(200):  # coordinate descent on the squared error off the diagonal
        for j in range(k):
            others = strength[known[j]]
            if len(others):
                strength[j] = (moments[j, known[j]] @ others / (others @ others).clamp(min=1e-12)).clamp(1e-4, 1 - 1e-4)
    return (1 + (classes - 1) * strength) / classes


@hookimpl
def register_mitigations(register):
    register("snorkel_label_model", SnorkelLabelModel)
