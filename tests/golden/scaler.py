"""Values for tests/training_state.rs: the scales that PyTorch's GradScaler chooses, where a gradient is made infinite or
NaN at some steps.

    pip install torch
    python tests/golden/scaler.py > tests/golden/scaler.json
"""
import json
import random

import torch


def run(overflows, **numbers):
    scaler = torch.amp.GradScaler("cpu", **numbers)
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    scales = []
    for step, overflow in enumerate(overflows):
        # The scale is made at the first call.
        parameter.grad = scaler.scale(torch.ones(3))
        scales.append(scaler.get_scale())
        if overflow:
            parameter.grad[step % 3] = [float("inf"), float("nan"), float("-inf")][step % 3]
        scaler.step(optimizer)
        scaler.update()
    scales.append(scaler.get_scale())
    return {**numbers, "overflows": overflows, "scales": scales}


def drawn(seed, count, chance):
    generator = random.Random(seed)
    return [generator.random() < chance for _ in range(count)]


CASES = [
    run(drawn(1, 60, 0.2), init_scale=65536.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=4),
    run(drawn(2, 60, 0.1), init_scale=3.0, growth_factor=1.7, backoff_factor=0.3, growth_interval=3),
    run(drawn(3, 40, 0.5), init_scale=1024.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=1),
    run([False] * 12, init_scale=2.0**120, growth_factor=2.0, backoff_factor=0.5, growth_interval=2),
]
print(json.dumps(CASES))
