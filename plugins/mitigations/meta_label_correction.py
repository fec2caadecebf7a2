"""Labels corrected by a network, learnt by a step that is differentiated through."""

from dataclasses import replace

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.meta_weight_net import MetaWeightNet, consensus, gold, meta_loss
from w2s_bench.plugins.mitigations.neighbours import rows_of


class MetaLabelCorrection:
    """A student that learns from what a small network makes of text and weak label, learnt on a trusted set.

    Source: Zheng et al. 2021, arXiv 1911.03809, algorithm 1 (one-step look-ahead). Formula: label = C(h, w); a
    virtual step of the student on these labels; C descends on the stepped student's loss on the meta set; then the
    real step on the new labels. C adds a layer of `hidden` units over the features and the label to log w and begins
    as the identity; h are the student's features as pretrained. The meta set are the validation examples on which all
    supervisors agree: no ground truth. The virtual step is AdamW's, as in `meta_weight_net`. Defaults: 100 units,
    Adam at 1e-3 and meta batches of 100, as in `meta_weight_net`. Needs several supervisors. Cost: about 4 and the
    features.
    """

    source = "Zheng et al. 2021, arXiv 1911.03809"
    search = {"lr": [0.0001, 0.001, 0.01], "meta_batch": [32, 100]}
    meta_set = staticmethod(consensus)
    needs = frozenset({"several_supervisors", "features"})
    honours = frozenset({"order_examples", "training_batch", "training_targets", "training_loss"})

    Options = MetaWeightNet.Options

    def __init__(self, options):
        self.options = options

    @hookimpl
    def fit_student(self, problem):
        """Returns the student trained on the corrected labels."""
        import torch

        student = problem.new_student()
        trusted = self.meta_set(problem.pool)
        rows = rows_of(problem.pool.features)
        rows = ((rows - rows.mean(0)) / rows.std(0).clamp(min=1e-6)).to(student.target_device)
        correct = corrector(rows.shape[-1], problem.labels.shape[-1], self.options.hidden, problem.pool.rng)
        correct = correct.to(student.target_device)
        optimizer = torch.optim.Adam(correct.parameters(), lr=self.options.lr)
        for batch, progress in problem.batches():
            batch, weights = batch.to(student.target_device), student.trainable()
            labels = corrected(correct, rows[batch.index], batch.labels)
            losses = student.losses(replace(batch, labels=labels), progress, params=weights)
            loss = (losses * batch.weights).sum() / batch.weights.sum()
            grads = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            stepped = student.look_ahead(dict(zip(weights, grads, strict=True)))
            optimizer.zero_grad()
            loss = meta_loss(student, stepped, trusted, self.options.meta_batch, problem.pool.rng)
            loss.backward(inputs=list(correct.parameters()))
            optimizer.step()
            with torch.no_grad():
                labels = corrected(correct, rows[batch.index], batch.labels)
            batch = replace(batch, labels=labels)
            student.step(student.losses(batch, progress), batch)
        return student


class MetaLabelCorrectionGold(MetaLabelCorrection):
    """The same as `meta_label_correction`, whose meta set is the gold budget: on the track of those that use truth.

    Source: Zheng et al. 2021, arXiv 1911.03809, whose meta set has true labels. Defaults as there. Needs task.n_gold.
    Cost: about 4, the features and the gold labels.
    """

    meta_set = staticmethod(gold)
    needs = frozenset({"ground_truth", "features"})


def corrected(correct, rows, labels):
    """Returns labels [B, C] that the network makes of features [B, H] and weak labels [B, C]."""
    import torch

    return (labels.clamp(min=1e-4).log() + correct(torch.cat([rows, labels], -1))).softmax(-1)


def corrector(width, classes, hidden, rng):
    """Returns C: [B, H + C] to what is added to log w [B, C], nothing at first; its weights are drawn from `rng`."""
    import torch

    bare = torch.nn.utils.skip_init  # torch's own start would draw from the global stream
    first, last = bare(torch.nn.Linear, width + classes, hidden), bare(torch.nn.Linear, hidden, classes)
    with torch.no_grad():
        for weight in first.parameters():
            weight.copy_((torch.rand(weight.shape, generator=rng) * 2 - 1) * (width + classes) ** -0.5)
        for weight in last.parameters():
            weight.zero_()
    return torch.nn.Sequential(first, torch.nn.ReLU(), last)


@hookimpl
def register_mitigations(register):
    register("meta_label_correction", MetaLabelCorrection)
    register("meta_label_correction_gold", MetaLabelCorrectionGold)
