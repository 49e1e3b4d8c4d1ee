"""Values for tests/adam.rs: steps of PyTorch's AdamW with a clipped norm, f64.

    pip install torch && python tests/golden/adam.py > tests/golden/adam.json

Parameters and gradients are made of sines, so that both sides make the same ones without a file.
"""
import json
import math

import torch

SHAPES = [(7,), (5, 13), (3, 2, 3, 3), (1,)]


def waves(count, phase, *shape):
    values = [
        math.sin(i * 12.9898 + phase * 78.233) * 0.6 + math.cos(i * 0.37 + phase) * 0.4 for i in range(count)
    ]
    # The other side holds f32.
    return torch.tensor(values, dtype=torch.float32).double().reshape(shape)


def run(weight_decay, clip_norm):
    parameters = [torch.nn.Parameter(waves(math.prod(shape), 1.0 + i, *shape)) for i, shape in enumerate(SHAPES)]
    optimizer = torch.optim.AdamW(parameters, lr=0.02, betas=(0.8, 0.99), eps=1e-6, weight_decay=weight_decay)
    for step in range(4):
        for i, (parameter, shape) in enumerate(zip(parameters, SHAPES)):
            parameter.grad = waves(math.prod(shape), 10.0 * (step + 1) + i, *shape) * 0.5**step
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
    return {
        "weight_decay": weight_decay,
        "clip_norm": clip_norm,
        "parameters": [parameter.detach().flatten().tolist() for parameter in parameters],
    }


print(json.dumps([run(0.0, None), run(0.3, None), run(0.1, 2.0)]))
