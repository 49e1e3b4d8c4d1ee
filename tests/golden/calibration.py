"""Values for tests/score.rs: accuracy, likelihood and calibration of random logits, with PyTorch. The calibration error
is computed as in the code of its authors, https://github.com/gpleiss/temperature_scaling.

    pip install torch
    python tests/golden/calibration.py > tests/golden/calibration.json
"""
import json

import torch
import torch.nn.functional as F

BINS = 15


def task(generator, ways, queries):
    labels = torch.randint(0, ways, (queries,), generator=generator)
    logits = torch.randn(queries, ways, generator=generator) * 2
    logits[torch.arange(queries), labels] += torch.rand(queries, generator=generator) * 5
    return {
        "names": [f"class {c}" for c in torch.randperm(12, generator=generator)[:ways].tolist()],
        "labels": labels.tolist(),
        "logits": [[round(z, 4) for z in row] for row in logits.tolist()],
    }


generator = torch.Generator().manual_seed(7)
tasks = [task(generator, ways, queries) for ways, queries in [(5, 75), (2, 3), (7, 40), (3, 31), (12, 90)]]

accuracies, confidences, rights, nats, classes = [], [], [], [], {}
for t in tasks:
    logits, labels = torch.tensor(t["logits"], dtype=torch.float32).double(), torch.tensor(t["labels"])
    confidence, chosen = F.softmax(logits, dim=1).max(dim=1)
    right = chosen.eq(labels)
    accuracies.append(right.double().mean().item())
    confidences.append(confidence)
    rights.append(right)
    nats.append(F.cross_entropy(logits, labels, reduction="none"))
    for label, is_right in zip(t["labels"], right.tolist()):
        entry = classes.setdefault(t["names"][label], {"right": 0, "total": 0})
        entry["total"] += 1
        entry["right"] += is_right

confidences, rights, nats = torch.cat(confidences), torch.cat(rights).double(), torch.cat(nats)
edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
error, bins = 0.0, []
for low, high in zip(edges[:-1], edges[1:]):
    inside = confidences.gt(low) & confidences.le(high)
    count = int(inside.sum())
    accuracy = rights[inside].mean().item() if count else 0.0
    confidence = confidences[inside].mean().item() if count else 0.0
    error += abs(confidence - accuracy) * count / len(confidences)
    bins.append({"count": count, "accuracy": accuracy, "confidence": confidence})

accuracies = torch.tensor(accuracies, dtype=torch.float64)
print(json.dumps({
    "tasks": tasks,
    "accuracies": accuracies.tolist(),
    "accuracy": accuracies.mean().item(),
    "ci95": 1.96 * accuracies.std().item() / len(accuracies) ** 0.5,
    "classes": classes,
    "negative_log_likelihood": nats.mean().item(),
    "expected_error": error,
    "bins": bins,
}))
