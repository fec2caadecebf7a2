"""Labels held against those of the nearest examples, by features of the student as pretrained."""

from dataclasses import dataclass

from w2s_bench import hookimpl


def rows_of(features):
    """Returns one row of features an example [N, H]: a pair's is the second candidate's less the first's."""
    return features[1] - features[0] if features.ndim == 3 else features


def nearest(rows, k):
    """Returns the k nearest others of each row [N, k], by Euclidean distance; all others where there are fewer."""
    import torch

    k = min(k, len(rows) - 1)
    indices = []
    for start in range(0, len(rows), 1024):
        distance = torch.cdist(rows[start : start + 1024], rows)
        distance[torch.arange(len(distance)), torch.arange(start, start + len(distance))] = torch.inf
        indices.append(distance.topk(k, largest=False).indices)
    return torch.cat(indices)


def without_the_most(disagreement, share):
    """Returns weights [N]: 0 for this share of the examples, those that disagree most, and 1 for the others."""
    weights = disagreement.new_ones(len(disagreement)).float()
    weights[disagreement.argsort(descending=True, stable=True)[: round(share * len(disagreement))]] = 0.0
    return weights


@dataclass
class Neighbours:
    k: int = 50
    """How many neighbours are asked."""

    def __post_init__(self):
        if self.k < 1:
            raise ValueError(f"k must be 1 or more, not {self.k}")


@dataclass
class Filter(Neighbours):
    contamination: float = 0.1
    """Share of the examples that is left out."""

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.contamination < 1:
            raise ValueError(f"contamination must lie in [0, 1), not {self.contamination}")


class KNNFilter:
    """Weight 0 for the labels that agree least with those of their nearest neighbours.

    Source: EleutherAI/w2s (probe filtering, knn). Formula: d_n = total variation between w_n and the mean label of its
    k nearest neighbours in the student's features; the share `contamination` with the largest d is left out. Defaults:
    k = 50, as there; 10 %, as there. There an example is among its own neighbours and features come from the middle
    layer; here it is not, and they are pooled from the last. Cost: 1 and the features.
    """

    source = "EleutherAI/w2s"
    search = {"k": [10, 50, 200], "contamination": [0.05, 0.1, 0.2, 0.4]}
    needs = frozenset({"features"})
    Options = Filter

    def __init__(self, options):
        self.options = options

    @hookimpl
    def weigh_examples(self, labels, pool):
        """Returns 1 for kept examples."""
        around = labels[nearest(rows_of(pool.features), self.options.k)].mean(1)
        return without_the_most((labels - around).abs().sum(-1) / 2, self.options.contamination)


class KNNRelabel:
    """Labels that are the mean of their nearest neighbours'.

    Source: EleutherAI/w2s (probe relabelling, knn). Formula: the mean weak label of the k nearest neighbours in the
    student's features. Default: k = 50, as there; as in `knn_filter`, an example is not its own neighbour. Cost: 1 and
    the features.
    """

    source = "EleutherAI/w2s"
    search = {"k": [5, 10, 25, 50, 100, 200]}
    needs = frozenset({"features"})
    Options = Neighbours

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels, pool):
        """Returns labels [N, C]."""
        return labels[nearest(rows_of(pool.features), self.options.k)].mean(1)


class TopoFilter:
    """Weight 1 for examples in the largest connected component of their class, without its least agreeing part.

    Source: Wu et al. 2020, arXiv 2012.04835 (TopoFilter), as EleutherAI/w2s has it. Formula: in the graph of k
    nearest neighbours in the student's features, keep for each class the largest strongly connected component among
    the examples that the labels give to it; where that drops less than `contamination`, drop on those whose label is
    furthest from the mean of their k nearest kept neighbours. Defaults: k = 50 and 10 %, as in EleutherAI/w2s. Cost:
    1 and the features.
    """

    source = "Wu et al. 2020, arXiv 2012.04835"
    search = {"k": [10, 50, 200], "contamination": [0.05, 0.1, 0.2, 0.4]}
    needs = frozenset({"features"})
    Options = Filter

    def __init__(self, options):
        self.options = options

    @hookimpl
    def weigh_examples(self, labels, pool):
        """Returns 1 for kept examples."""
        rows = rows_of(pool.features)
        kept = connected(nearest(rows, self.options.k), labels.argmax(-1)).nonzero()[:, 0]
        weights = labels.new_zeros(len(labels))
        weights[kept] = 1.0
        more = round(self.options.contamination * len(labels)) - (len(labels) - len(kept))
        if more > 0 and len(kept) > 1:
            around = labels[kept][nearest(rows[kept], self.options.k)].mean(1)
            distance = (labels[kept] - around).abs().sum(-1)
            weights[kept[distance.argsort(descending=True, stable=True)[:more]]] = 0.0
        return weights


def connected(neighbours, classes):
    """Returns which examples [N] are in the largest strongly connected component of their class."""
    import numpy as np
    import torch
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    size, k = neighbours.shape
    start = np.repeat(np.arange(size), k)
    end = neighbours.flatten().numpy()
    same = classes.numpy()[start] == classes.numpy()[end]
    graph = coo_matrix((np.ones(int(same.sum())), (start[same], end[same])), shape=(size, size))
    _, component = connected_components(graph, directed=True, connection="strong")
    kept = np.zeros(size, dtype=bool)
    for c in range(int(classes.max()) + 1):
        members = np.flatnonzero(classes.numpy() == c)
        if len(members):
            kept[members] = component[members] == np.bincount(component[members]).argmax()
    return torch.from_numpy(kept)


@hookimpl
def register_mitigations(register):
    register("knn_filter", KNNFilter)
    register("knn_relabel", KNNRelabel)
    register("topo_filter", TopoFilter)
