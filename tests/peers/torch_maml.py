"""MAML on Omniglot's minimal split as a user of PyTorch writes it: a loop over tasks, with `autograd.grad` twice.

    python torch_maml.py DATA --minutes 10 --json torch_maml.json

DATA holds Omniglot's `images_background_small1.zip`, of which each class is also turned by 90, 180 and 270 degrees, to
train on, and `images_background_small2.zip`, without the alphabets that the first has too, to evaluate on. The network
is four blocks of convolution 3 by 3, batch norm, ReLU and max pooling, and a linear head.

Batch norm always takes statistics of what it is given; queries are normalized by those of all queries together
(`queries`: transductive), or by those of the support in the adapted network (`support`). Prints its progress every ten
seconds and one object of JSON at the end, accuracies with 1.96 standard errors over episodes.
"""

import argparse
import json
import math
import random
import struct
import sys
import time
import warnings
import zipfile
import zlib
from pathlib import Path

# Nothing here needs NumPy.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")

import torch
import torch.nn.functional as F

SIZE, BLOCKS = 28, 4
NORMALIZATIONS = ["queries", "support"]


def decode(png):
    """Pixels of a PNG of one channel and at most 8 bits, as the numbers 0 to 1; Omniglot's have one bit."""
    position, width, height, depth, packed = 8, 0, 0, 0, b""
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        body = png[position + 8 : position + 8 + length]
        position += 12 + length
        if kind == b"IHDR":
            width, height, depth, colors, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            if colors != 0 or depth > 8 or interlaced:
                raise ValueError("not a PNG as Omniglot has them")
        elif kind == b"IDAT":
            packed += body
    packed = zlib.decompress(packed)
    stride = (width * depth + 7) // 8
    above, rows = bytes(stride), []
    for y in range(height):
        start = y * (stride + 1)
        above = unfilter(packed[start], packed[start + 1 : start + 1 + stride], above)
        rows.append(above)
    values = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).view(height, stride, 1)
    shifts = torch.arange(8 - depth, -1, -depth, dtype=torch.uint8)
    most = (1 << depth) - 1
    return ((values >> shifts) & most).view(height, -1)[:, :width].float() / most


def unfilter(kind, row, above):
    """Undoes a row's filter; pixels are not wider than a byte."""
    out, left, corner = bytearray(), 0, 0
    for value, up in zip(row, above):
        near = left + up - corner
        paeth = min((abs(near - left), 0, left), (abs(near - up), 1, up), (abs(near - corner), 2, corner))[2]
        left = (value + [0, left, up, (left + up) // 2, paeth][kind]) & 255
        corner = up
        out.append(left)
    return bytes(out)


def area_weights(targets, sources):
    """What share of each target cell lies over each source cell."""
    low = torch.arange(targets)[:, None] * sources
    cells = torch.arange(sources)[None] * targets
    shared = torch.minimum(low + sources, cells + targets) - torch.maximum(low, cells)
    return shared.clamp(min=0).double() / sources


def load(path):
    """Alphabet, and images `[drawings, 1, 28, 28]` with ink = 1, of each character."""
    drawings = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".png"):
                drawings.setdefault(tuple(name.split("/")[-3:]), name)
        characters = {}
        for key in sorted(drawings):
            pixels = decode(archive.read(drawings[key])).double()
            rows, columns = (area_weights(SIZE, side) for side in pixels.shape)
            image = (255 * (1 - rows @ pixels @ columns.T)).round() / 255
            characters.setdefault(key[:2], []).append(image.float()[None])
    return [(alphabet, torch.stack(images)) for (alphabet, _), images in characters.items()]


def splits(folder):
    small1, small2 = (load(Path(folder) / f"images_background_{name}.zip") for name in ["small1", "small2"])
    seen = {alphabet for alphabet, _ in small1}
    train = [images.rot90(turns, (2, 3)) for _, images in small1 for turns in range(4)]
    return train, [images for alphabet, images in small2 if alphabet not in seen]


def draw_task(classes, ways, shots, queries, rng):
    """Support and query images, class by class, with their labels."""
    support, query = [], []
    for images in rng.sample(classes, ways):
        picked = images[rng.sample(range(len(images)), shots + queries)]
        support.append(picked[:shots])
        query.append(picked[shots:])

    def labels(each):
        return torch.arange(ways).repeat_interleave(each)

    return torch.cat(support), labels(shots), torch.cat(query), labels(queries)


def initial(filters, ways):
    parameters = []
    for block in range(BLOCKS):
        conv = torch.nn.Conv2d(1 if block == 0 else filters, filters, 3)
        parameters += [conv.weight, conv.bias, torch.ones(filters), torch.zeros(filters)]
    head = torch.nn.Linear(filters * (SIZE >> BLOCKS) ** 2, ways)
    return [p.detach().requires_grad_() for p in [*parameters, head.weight, head.bias]]


def network(parameters, x, given=None, taken=None):
    """Logits, normalized by the statistics `given` or else by those of `x`, which are added to `taken`."""
    for block in range(BLOCKS):
        weight, bias, gamma, beta = parameters[4 * block : 4 * block + 4]
        x = F.conv2d(x, weight, bias, padding=1)
        if given is None and taken is None:
            x = F.batch_norm(x, None, None, gamma, beta, training=True)
        else:
            if given is None:
                var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
                taken.append((mean, var))
            else:
                mean, var = given[block]
            # PyTorch's own takes no gradient through statistics that it is given.
            scale = gamma * (var + 1e-5).rsqrt()
            x = x * scale[:, None, None] + (beta - mean * scale)[:, None, None]
        x = F.max_pool2d(F.relu(x), 2)
    return F.linear(x.flatten(1), *parameters[-2:])


def adapt(parameters, support, labels, steps, rate, second_order):
    for _ in range(steps):
        loss = F.cross_entropy(network(parameters, support), labels)
        grads = torch.autograd.grad(loss, parameters, create_graph=second_order)
        parameters = [p - rate * g for p, g in zip(parameters, grads)]
    return parameters


def answer(parameters, support, query, normalization):
    """The queries' logits."""
    if normalization == "queries":
        return network(parameters, query)
    taken = []
    network(parameters, support, taken=taken)
    return network(parameters, query, given=taken)


def train(parameters, classes, options):
    """Meta-steps until the time is over; returns how many, and the seconds they took."""
    rng = random.Random(options.seed)
    optimizer = torch.optim.Adam(parameters, lr=options.outer_rate)
    begun = told = time.perf_counter()
    done, losses, rights = 0, [], []
    while (now := time.perf_counter()) - begun < 60 * options.minutes:
        if now - told >= 10:
            told = now
            print(
                f"{now - begun:5.0f} s  {done} meta-steps  loss {sum(losses) / len(losses):.4f}"
                f"  accuracy {sum(rights) / len(rights):.4f}",
                file=sys.stderr,
                flush=True,
            )
            losses, rights = [], []
        optimizer.zero_grad()
        for _ in range(options.meta_batch):
            support, support_labels, query, labels = draw_task(
                classes, options.ways, options.shots, options.train_queries, rng
            )
            adapted = adapt(
                parameters, support, support_labels, options.inner_steps, options.inner_rate, not options.first_order
            )
            logits = answer(adapted, support, query, options.normalization)
            loss = F.cross_entropy(logits, labels)
            (loss / options.meta_batch).backward()
            losses.append(loss.item())
            rights.append((logits.argmax(1) == labels).float().mean().item())
        optimizer.step()
        done += 1
    return done, time.perf_counter() - begun


def evaluate(parameters, classes, options):
    """For each normalization the mean accuracy and its confidence, all on the same episodes."""
    rng = random.Random(options.seed + 1)
    found = {normalization: [] for normalization in NORMALIZATIONS}
    for _ in range(options.episodes):
        support, support_labels, query, labels = draw_task(classes, options.ways, options.shots, options.queries, rng)
        adapted = adapt(parameters, support, support_labels, options.test_steps, options.inner_rate, False)
        with torch.no_grad():
            for normalization, accuracies in found.items():
                right = answer(adapted, support, query, normalization).argmax(1) == labels
                accuracies.append(right.double().mean())
    rows = []
    for normalization, accuracies in found.items():
        accuracies = torch.stack(accuracies)
        rows.append(
            {
                "normalization": normalization,
                "transductive": normalization == "queries",
                "accuracy": accuracies.mean().item(),
                "ci95": 1.96 * accuracies.std().item() / math.sqrt(len(accuracies)),
            }
        )
    return rows


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="folder of Omniglot's small background sets")
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--queries", type=int, default=15, help="of each class, in evaluation")
    parser.add_argument("--train-queries", type=int, default=5)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--inner-steps", type=int, default=3)
    parser.add_argument("--inner-rate", type=float, default=0.1)
    parser.add_argument("--test-steps", type=int, help="the inner steps, unless said")
    parser.add_argument("--first-order", action="store_true")
    parser.add_argument("--meta-batch", type=int, default=16)
    parser.add_argument("--outer-rate", type=float, default=1e-3)
    parser.add_argument("--normalization", choices=NORMALIZATIONS, default="queries", help="in training")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file for what is printed at the end")
    options = parser.parse_args()
    if options.test_steps is None:
        options.test_steps = options.inner_steps
    return options


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    train_classes, test_classes = splits(options.data)
    print(f"{len(train_classes)} classes to train on, {len(test_classes)} to test on", file=sys.stderr, flush=True)
    parameters = initial(options.filters, options.ways)
    steps, seconds = train(parameters, train_classes, options)
    begun = time.perf_counter()
    rows = evaluate(parameters, test_classes, options)
    chosen = next(row for row in rows if row["normalization"] == options.normalization)
    result = {
        "method": "fomaml" if options.first_order else "maml",
        "ways": options.ways,
        "shots": options.shots,
        **chosen,
        "evaluations": rows,
        "evaluation_seconds": time.perf_counter() - begun,
        "steps": steps,
        "tasks": steps * options.meta_batch,
        "seconds": seconds,
        "torch": torch.__version__,
        "threads": options.threads,
        "hyper_parameters": {
            name: value for name, value in vars(options).items() if name not in ["data", "json", "threads"]
        },
    }
    text = json.dumps(result, indent=2)
    if options.json:
        Path(options.json).write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
