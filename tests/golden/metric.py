"""Values for tests of few-shot heads on given features: logits, loss and gradients in PyTorch, f64.

    pip install torch && python tests/golden/metric.py > tests/golden/metric.json

With c_k the mean of class k's support features and n_k their number, the logits of a query q are

    euclidean     -|q - c_k|^2
    cosine        tau cos(q, c_k)
    mahalanobis   -1/2 sum (q - c_k)^2 / Q_k, Q_k = w_k S_k + (1 - w_k) S + 1, w_k = n_k / (n_k + 1), S_k and S the
                  variances (biased) of class k and of the whole support (Simple CNAPS with diagonal covariances)
    matching      log of the sum over class k of softmax over the support of tau cos(q, x) (Matching Networks)
    ridge         alpha q W + beta, W = X' (X X' + lambda)^-1 Y, X the support and Y its labels one-hot (R2-D2);
                  lambda is called strength
    simple_shot   -|n(q) - mean of class k's n(x)|^2, n(x) = (x - mean) / |x - mean|, with a mean that is given

The loss is the cross entropy, averaged over queries; beta moves all logits alike and has no gradient. Features are
flattened row-major.
"""
import random

import torch
import torch.nn.functional as F

from tensors import draw, text

torch.set_default_dtype(torch.float64)

WAYS, WIDTH = 3, 5


def prototypes(support, labels):
    return torch.stack([support[labels == k].mean(0) for k in range(WAYS)])


def distances(queries, centers):
    return (queries[:, None] - centers).square().sum(2)


def cosines(queries, others):
    return F.normalize(queries, dim=1) @ F.normalize(others, dim=1).T


def euclidean(support, labels, query):
    return -distances(query, prototypes(support, labels))


def cosine(support, labels, query, tau):
    return tau * cosines(query, prototypes(support, labels))


def mahalanobis(support, labels, query):
    whole = torch.cov(support.T, correction=0).diag()
    logits = []
    for k in range(WAYS):
        members = support[labels == k]
        weight = len(members) / (len(members) + 1)
        own = (members - members.mean(0)).square().mean(0)
        covariance = torch.diag(weight * own + (1 - weight) * whole) + torch.eye(WIDTH)
        away = query - members.mean(0)
        logits.append(-0.5 * (away @ covariance.inverse() * away).sum(1))
    return torch.stack(logits, 1)


def matching(support, labels, query, tau):
    attention = F.softmax(tau * cosines(query, support), 1)
    return (attention @ F.one_hot(labels, WAYS).double()).log()


def ridge(support, labels, query, strength, alpha, beta):
    targets = F.one_hot(labels, WAYS).double()
    weight = support.T @ torch.linalg.solve(support @ support.T + strength * torch.eye(len(support)), targets)
    # The same by the normal equations.
    normal = torch.linalg.solve(support.T @ support + strength * torch.eye(WIDTH), support.T @ targets)
    assert (weight - normal).abs().max() < 1e-12
    return alpha * query @ weight + beta


def simple_shot(support, labels, query, mean):
    centers = prototypes(F.normalize(support - mean, dim=1), labels)
    return -distances(F.normalize(query - mean, dim=1), centers)


def result(head, task, **options):
    """Logits, loss and gradients with respect to the features and all options."""
    inputs = {"support": task["support"], "query": task["query"]}
    inputs |= {name: torch.as_tensor(value, dtype=torch.float64) for name, value in options.items()}
    inputs = {name: value.clone().requires_grad_() for name, value in inputs.items()}

    def loss_of(*values):
        given = dict(zip(inputs, values))
        logits = head(labels=task["support_labels"], **given)
        return F.cross_entropy(logits, task["query_labels"]), logits

    loss, logits = loss_of(*inputs.values())
    assert torch.autograd.gradcheck(lambda *values: loss_of(*values)[0], tuple(inputs.values()))
    loss.backward()
    return {
        "options": {name: inputs[name].detach() for name in options},
        "logits": logits.detach(),
        "loss": loss.item(),
        "gradients": {name: value.grad for name, value in inputs.items()},
    }


def described(support_labels, query_labels, rng):
    task = {
        "support": draw(rng, len(support_labels), WIDTH),
        "query": draw(rng, len(query_labels), WIDTH),
        "support_labels": torch.tensor(support_labels),
        "query_labels": torch.tensor(query_labels),
    }
    mean = draw(rng, WIDTH, scale=0.5)
    return task | {
        "heads": {
            "euclidean": result(euclidean, task),
            "cosine": result(cosine, task, tau=10.0),
            "mahalanobis": result(mahalanobis, task),
            "matching": result(matching, task, tau=1.0),
            "matching_sharp": result(matching, task, tau=8.0),
            "ridge": result(ridge, task, strength=1.0, alpha=2.0, beta=0.5),
            "simple_shot": result(simple_shot, task, mean=mean),
        }
    }


def main():
    rng = random.Random(1)
    even = described([0, 0, 1, 1, 2, 2], [0, 1, 2, 1], rng)
    uneven = described([0, 1, 1, 2, 2, 2], [2, 0, 1, 2], rng)
    print(text({"torch": torch.__version__, "ways": WAYS, "even": even, "uneven": uneven}))


if __name__ == "__main__":
    main()
