"""The peer of `forgeling continual run --strategy er`: class-incremental Split-MNIST as a user of PyTorch writes it.

    python torch_er.py FOLDER SEED ITERATIONS

FOLDER has MNIST's four IDX files. Five contexts of two classes in an order drawn from SEED; a perceptron 2 x 400 on raw pixels,
Adam 1e-3 kept from context to context, ITERATIONS batches of 128 a context; 100 random examples a class are kept when a context
ends, and 128 of them are replayed at each step: loss 1/k new + (1 - 1/k) old. All ten outputs from the start. Prints one JSON
object with the accuracy after each context on each (the first row is that of the untrained network) and the seconds, reading
and tests included.
"""

import json
import os
import sys
import time
import warnings

# Nothing here needs NumPy.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")

import torch
import torch.nn.functional as F
from torch import nn

CONTEXTS, CLASSES, KEPT, BATCH, HIDDEN = 5, 10, 100, 128, 400


def read(folder, part):
    def body(name, header):
        with open(os.path.join(folder, name), "rb") as file:
            return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)[header:]

    images = body(f"{part}-images-idx3-ubyte", 16).reshape(-1, 784).float() / 255
    return images, body(f"{part}-labels-idx1-ubyte", 8).long()


def main():
    folder, seed, iterations = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    begun = time.perf_counter()
    torch.manual_seed(seed)
    order = torch.randperm(CLASSES)
    label_of = torch.empty(CLASSES, dtype=torch.long)
    label_of[order] = torch.arange(CLASSES)
    images, labels = read(folder, "train")
    test_images, test_labels = read(folder, "t10k")
    labels, test_labels = label_of[labels], label_of[test_labels]
    model = nn.Sequential(
        nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    width = CLASSES // CONTEXTS
    tests = []
    for context in range(CONTEXTS):
        chosen = test_labels // width == context
        tests.append((test_images[chosen], test_labels[chosen]))

    def test():
        with torch.no_grad():
            return [(model(x).argmax(1) == y).float().mean().item() for x, y in tests]

    matrix = [test()]
    kept_images, kept_labels = torch.empty(0, 784), torch.empty(0, dtype=torch.long)
    for context in range(CONTEXTS):
        own = (labels // width == context).nonzero().flatten()
        shuffled, place = own[torch.randperm(len(own))], 0
        for _ in range(iterations):
            if place + BATCH > len(shuffled):
                shuffled, place = own[torch.randperm(len(own))], 0
            batch = shuffled[place : place + BATCH]
            place += BATCH
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            if context > 0:
                drawn = torch.randperm(len(kept_images))[:BATCH]
                old = F.cross_entropy(model(kept_images[drawn]), kept_labels[drawn])
                loss = loss / (context + 1) + (1 - 1 / (context + 1)) * old
            loss.backward()
            optimizer.step()
            # A user looks at the loss.
            loss.item()
        for label in range(context * width, (context + 1) * width):
            of_label = own[labels[own] == label]
            chosen = of_label[torch.randperm(len(of_label))[:KEPT]]
            kept_images = torch.cat([kept_images, images[chosen]])
            kept_labels = torch.cat([kept_labels, labels[chosen]])
        matrix.append(test())
    last = matrix[-1]
    seconds = time.perf_counter() - begun
    print(json.dumps({"accuracy": sum(last) / len(last), "matrix": matrix, "seconds": seconds, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
