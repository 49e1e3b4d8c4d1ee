"""What PyTorch computes with networks that are published, with weights that `tests/zoo_golden.rs` makes too, into zoo_*.json
of a folder: logits of two images, their loss, the gradient of each parameter, and the running statistics of a training step.

    pip install torch && python tests/golden/zoo.py tests/golden

All is computed in f64, so that what differs is ours. Of a tensor there are its norm, its largest absolute value and some of
its values.
"""
import copy
import math
import sys
from pathlib import Path

import torch
from models import Basic, Bottleneck, EfficientNetLite0, ResNet, VisionTransformer
from tensors import lines
from torch import nn
from torch.nn import functional

CLASSES, LABELS, KEPT = 10, [3, 8], 16
# File, model, network, rows and columns, by how much norms multiply (residual sums grow from block to block with 1), and
# whether there is a training step: with the statistics of two images, f32 says little of ResNet-50's gradients.
CASES = [
    ("resnet18", "resnet18", ResNet(Basic, [2, 2, 2, 2], CLASSES), (45, 38), 0.75, True),
    ("resnet50", "resnet50", ResNet(Bottleneck, [3, 4, 6, 3], CLASSES), (37, 46), 0.75, False),
    ("efficientnet_lite0", "efficientnet_lite0", EfficientNetLite0(CLASSES), (48, 64), 1.0, True),
    ("efficientnet_lite0_odd", "efficientnet_lite0", EfficientNetLite0(CLASSES), (65, 49), 1.0, False),
    ("vit_tiny", "vit_tiny", VisionTransformer(80, 192, CLASSES), (80, 80), 1.0, False),
]
# How many batches of images are tried: see `safest`.
SEEDS = 200

MASK = (1 << 64) - 1
STEP, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def key(name):
    """FNV-1a of a name."""
    found = 0xCBF29CE484222325
    for byte in name.encode():
        found = (found ^ byte) * 0x100000001B3 & MASK
    return found


def signed(number):
    return number - (1 << 64) if number >> 63 else number


def words(name, count):
    """The first so many outputs of SplitMix64 that begins with the name's key, of which i64 has the bits."""

    def shifted(x, by):
        return (x >> by) & ((1 << 64 - by) - 1)

    x = torch.arange(1, count + 1, dtype=torch.int64) * signed(STEP) + signed(key(name))
    x = (x ^ shifted(x, 30)) * signed(FIRST)
    x = (x ^ shifted(x, 27)) * signed(SECOND)
    return x ^ shifted(x, 31)


def units(name, shape):
    """Multiples of 2^-23 from -1 to 1, which f32 holds."""
    bits = (words(name, math.prod(shape)) >> 40) & ((1 << 24) - 1)
    return ((bits - (1 << 23)).double() / (1 << 23)).float().reshape(shape)


def values(name, shape, gain):
    """Weights of a size that lets something through, and statistics of their own."""
    of = units(name, shape)
    if name.endswith("running_var"):
        return 1 + 0.5 * of
    if len(shape) == 1 and name.endswith("weight"):
        return gain * (1 + 0.5 * of)
    if shape[0] == 1 or len(shape) == 1:
        return 0.25 * of
    return of * torch.tensor(math.sqrt(6 / math.prod(shape[1:])), dtype=torch.float32)


def places(name, count):
    """Where to look at a tensor: somewhere in each of its parts."""
    if count <= KEPT:
        return list(range(count))
    drawn = words(f"places of {name}", KEPT).tolist()
    starts = [count * part // KEPT for part in range(KEPT + 1)]
    return [start + (word & MASK) % (end - start) for start, end, word in zip(starts, starts[1:], drawn)]


def rounded(value):
    return float(f"{value:.9g}")


def summary(name, tensor):
    flat = tensor.flatten()
    return {
        "norm": rounded(flat.norm().item()),
        "largest": rounded(flat.abs().max().item()),
        "values": [rounded(value) for value in flat[places(name, len(flat))].tolist()],
    }


def bends(module, x):
    """How far each input of ReLU or ReLU6 is from where it bends, or the largest of a window from the next one."""
    if isinstance(module, nn.ReLU6):
        return torch.minimum(x.abs(), (x - 6).abs())
    if isinstance(module, nn.ReLU):
        return x.abs()
    windows = functional.pad(x, [module.padding] * 4, value=-1)
    for axis in (2, 3):
        windows = windows.unfold(axis, module.kernel_size, module.stride)
    first, second = windows.flatten(4).topk(2).values.unbind(4)
    # Nothing flows back where all are zeros.
    return (first - second)[first > 0]


def bending(network):
    return [module for module in network.modules() if isinstance(module, (nn.ReLU, nn.ReLU6, nn.MaxPool2d))]


def hooked(network, kind):
    """A copy that computes in this kind of number, and the list that it puts the inputs of what bends into."""
    network, inputs = copy.deepcopy(network).to(kind), []
    for module in bending(network):
        module.register_forward_hook(lambda module, given, _: inputs.append((module, given[0])))
    return network, inputs


def safest(network, batches):
    """The index of the batch whose nearest input to a bend is the farthest, in what PyTorch's f32 is off there on average.
    An input that f32 puts on the other side changes gradients by far more than rounding does."""
    both = [hooked(network, kind) for kind in (torch.float64, torch.float32)]
    distances = []
    for images in batches:
        for copied, inputs in both:
            inputs.clear()
            with torch.no_grad():
                copied(images.to(next(copied.parameters()).dtype))
        (_, exact), (_, rough) = both
        pairs = zip(exact, rough)
        off = [bends(module, x).min() / (x - y).square().mean().sqrt() for (module, x), (_, y) in pairs]
        distances.append(min(off, default=torch.tensor(math.inf)).item())
    found = max(range(len(batches)), key=distances.__getitem__)
    print(f"  batch {found}, {distances[found]:.3g} from a bend", file=sys.stderr)
    return found


def passed(network, size):
    """What comes of the safest images."""
    seeds = range(SEEDS if bending(network) else 1)
    batches = [2 * units(f"images {seed}", (len(LABELS), 3, *size)) for seed in seeds]
    seed = safest(network, batches)
    images = batches[seed]
    network = copy.deepcopy(network).double()
    logits = network(images.double())
    loss = functional.cross_entropy(logits, torch.tensor(LABELS))
    loss.backward()
    result = {
        "seed": seed,
        "loss": rounded(loss.item()),
        "logits": {"values": [rounded(value) for value in logits.flatten().tolist()]},
        "gradients": {name: summary(name, value.grad) for name, value in network.named_parameters()},
    }
    if network.training:
        buffers = {name: value for name, value in network.named_buffers() if "running" in name}
        result["statistics"] = {name: summary(name, value) for name, value in buffers.items()}
    return result


folder = Path(sys.argv[1])
for file, model, network, size, gain, trained in CASES:
    weights = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(values(name, tuple(tensor.shape), gain))
    print(file, file=sys.stderr)
    golden = {
        "model": model,
        "input": [3, *size],
        "gain": gain,
        "tensors": {name: list(tensor.shape) for name, tensor in weights.items()},
        "running": passed(network.eval(), size),
    }
    if trained:
        golden["batch"] = passed(network.train(), size)
    (folder / f"zoo_{file}.json").write_text(lines(golden) + "\n")
