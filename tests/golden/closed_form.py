"""Values for tests/continual/closed_form.rs, from scikit-learn: linear discriminant analysis with a given covariance, ridge
regression on one-hot labels, and distances to class means, of random rows whose classes are of unequal sizes.

    pip install numpy scikit-learn
    python tests/golden/closed_form.py > tests/golden/closed_form.json
"""
import json

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid


class Shrunk(BaseEstimator):
    """(1 - epsilon) times the covariance of a class, around its mean, plus epsilon times the identity."""

    def __init__(self, epsilon):
        self.epsilon = epsilon

    def fit(self, rows):
        covariance = np.cov(rows, rowvar=False, bias=True)
        self.covariance_ = (1 - self.epsilon) * covariance + self.epsilon * np.eye(rows.shape[1])


def lda(rows, labels, queries, epsilon):
    """The covariances of the classes count as often as they have examples; all classes are equally likely."""
    model = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Shrunk(epsilon)).fit(rows, labels)
    return model.decision_function(queries) - np.log(model.priors_)


def ridge(rows, labels, queries, penalty):
    targets = (labels[:, None] == np.unique(labels)).astype(float)
    return Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(rows, targets).predict(queries)


def nearest_mean(rows, labels, queries):
    means = NearestCentroid().fit(rows, labels).centroids_
    return -0.5 * ((queries[:, None] - means) ** 2).sum(axis=2)


def case(seed, sizes, features, offset):
    generator = np.random.default_rng(seed)
    mix = generator.normal(size=(features, features))
    centres = generator.normal(size=(len(sizes), features)) + offset
    draw = lambda label: (centres[label] + generator.normal(size=features) @ mix).round(3)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.array([draw(label) for label in labels]).astype(np.float32)
    queries = np.array([draw(label) for label in range(len(sizes)) if sizes[label] for _ in range(3)]).astype(np.float32)
    exact, asked = rows.astype(np.float64), queries.astype(np.float64)
    table = lambda values: values.round(12).tolist()
    return {
        "classes": len(sizes),
        "rows": [[round(float(x), 3) for x in row] for row in rows],
        "labels": labels.tolist(),
        "queries": [[round(float(x), 3) for x in row] for row in queries],
        "streaming_lda": [{"shrinkage": e, "scores": table(lda(exact, labels, asked, e))} for e in (1e-4, 0.3)],
        "ridge": [{"penalty": p, "scores": table(ridge(exact, labels, asked, p))} for p in (0.01, 10.0)],
        "nearest_mean": table(nearest_mean(exact, labels, asked)),
    }


# The second class of the first case has no examples.
print(json.dumps([case(1, [5, 0, 23, 14], 7, 0.0), case(2, [9, 31, 2, 11, 3], 11, 30.0)]))
