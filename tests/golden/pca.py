"""Values for tests/report.rs: the first two principal components of random rows, from NumPy's singular value decomposition.
Each direction is turned so that its largest number is positive.

    pip install numpy
    python tests/golden/pca.py > tests/golden/pca.json
"""
import json

import numpy as np


def case(seed, count, features, spread):
    generator = np.random.default_rng(seed)
    scales = spread ** -np.arange(features)
    mix = generator.normal(size=(features, features))
    rows = (generator.normal(size=(count, features)) * scales) @ mix + generator.normal(size=features)
    rows = rows.round(3).astype(np.float32)
    exact = rows.astype(np.float64)
    exact -= exact.mean(axis=0)
    u, s, v = np.linalg.svd(exact, full_matrices=False)
    signs = np.sign(v[np.arange(len(v)), np.abs(v).argmax(axis=1)])
    points = u * s * signs
    return {
        "rows": [[round(float(x), 3) for x in row] for row in rows],
        "points": points[:, :2].round(12).tolist(),
        "explained": (s**2 / (s**2).sum())[:2].tolist(),
    }


print(json.dumps([case(1, 25, 4, 1.5), case(2, 6, 13, 1.1), case(3, 30, 24, 1.02), case(4, 2, 3, 1.0)]))
