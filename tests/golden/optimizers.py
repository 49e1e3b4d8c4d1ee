"""Values for tests/adam.rs and tests/sgd.rs: steps of PyTorch's AdamW and SGD with a clipped norm, f64.

    pip install torch
    python tests/golden/optimizers.py adam > tests/golden/adam.json
    python tests/golden/optimizers.py sgd > tests/golden/sgd.json

Parameters and gradients are made of sines, so that both sides make the same ones without a file.
"""
import json
import math
import sys

import torch

SHAPES = [(7,), (5, 13), (3, 2, 3, 3), (1,)]


def waves(count, phase, *shape):
    values = [
        math.sin(i * 12.9898 + phase * 78.233) * 0.6 + math.cos(i * 0.37 + phase) * 0.4 for i in range(count)
    ]
    # The other side holds f32.
    return torch.tensor(values, dtype=torch.float32).double().reshape(shape)


def run(make, clip_norm, **numbers):
    parameters = [torch.nn.Parameter(waves(math.prod(shape), 1.0 + i, *shape)) for i, shape in enumerate(SHAPES)]
    optimizer = make(parameters, lr=0.02, **numbers)
    for step in range(4):
        for i, (parameter, shape) in enumerate(zip(parameters, SHAPES)):
            parameter.grad = waves(math.prod(shape), 10.0 * (step + 1) + i, *shape) * 0.5**step
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
    return {
        **{name: value for name, value in numbers.items() if name not in ("betas", "eps")},
        "clip_norm": clip_norm,
        "parameters": [parameter.detach().flatten().tolist() for parameter in parameters],
    }


def adam(weight_decay, clip_norm):
    return run(torch.optim.AdamW, clip_norm, betas=(0.8, 0.99), eps=1e-6, weight_decay=weight_decay)


def sgd(momentum, nesterov, weight_decay, clip_norm):
    return run(torch.optim.SGD, clip_norm, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


CASES = {
    "adam": lambda: [adam(0.0, None), adam(0.3, None), adam(0.1, 2.0)],
    "sgd": lambda: [
        sgd(0.0, False, 0.0, None),
        sgd(0.0, False, 0.3, 2.0),
        sgd(0.9, False, 0.1, None),
        sgd(0.8, True, 0.3, 2.0),
    ],
}
print(json.dumps(CASES[sys.argv[1]]()))
