"""Gradients of batch norm, ReLU and max pooling and the gradients of these by PyTorch's double backward, in f64, on images
with equal values in windows and blank parts.

    pip install torch && python tests/golden/norm_pool.py > tests/golden/norm_pool.json
"""
import json
import math

import torch
from torch.nn import functional

SHAPE = (2, 3, 5, 6)
POOLED = (2, 3, 2, 3)


def waves(shape, phase):
    values = [
        math.sin(i * 12.9898 + phase * 78.233) * 0.6 + math.cos(i * 0.37 + phase) * 0.4
        for i in range(math.prod(shape))
    ]
    # What f32 holds too.
    return torch.tensor(values, dtype=torch.float32).double().reshape(shape)


z = torch.round(waves(SHAPE, 1.0) * 4) / 4
z[:, :, 2:, :3] = 0
gamma, beta, grad = waves((3,), 3.0), waves((3,), 4.0), waves(POOLED, 7.0)
u, v, w = waves(SHAPE, 5.0), waves((3,), 8.0), waves((3,), 9.0)
for tensor in (z, gamma, beta, grad):
    tensor.requires_grad_()

normal = functional.batch_norm(z, None, None, gamma, beta, training=True, eps=1e-5)
y = functional.max_pool2d(functional.relu(normal), 2)
first = torch.autograd.grad(y, (z, gamma, beta), grad, create_graph=True)
objective = (first[0] * u).sum() + (first[1] * v).sum() + (first[2] * w).sum()
second = torch.autograd.grad(objective, (z, gamma, grad))

names = "z gamma beta grad u v w input gamma_grad beta_grad second_z second_gamma second_grad"
tensors = (z, gamma, beta, grad, u, v, w, *first, *second)
golden = {
    name: [float(f"{value:.9g}") for value in tensor.detach().flatten().tolist()]
    for name, tensor in zip(names.split(), tensors, strict=True)
}
print(json.dumps(golden))
