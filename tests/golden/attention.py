"""Values for tests/attention.rs and tests/layer_norm.rs: outputs and gradients in PyTorch, f64.

    pip install torch && python tests/golden/attention.py > tests/golden/attention.json

Inputs are made of sines, so that both sides make the same ones without a file.
"""
import json
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def waves(phase, *shape):
    values = [
        math.sin(i * 12.9898 + phase * 78.233) * 0.6 + math.cos(i * 0.37 + phase) * 0.4
        for i in range(math.prod(shape))
    ]
    # The other side holds f32.
    return torch.tensor(values, dtype=torch.float32).double().reshape(shape)


def attention(queries, keys, **options):
    query = waves(1.0, 2, 2, queries, 3).requires_grad_()
    key = waves(2.0, 2, 2, keys, 3).requires_grad_()
    value = waves(3.0, 2, 2, keys, 3).requires_grad_()
    output = F.scaled_dot_product_attention(query, key, value, **options)
    (output * waves(4.0, *output.shape)).sum().backward()
    return [t.flatten().tolist() for t in (output, query.grad, key.grad, value.grad)]


def layer_norm():
    x = waves(1.0, 5, 7).requires_grad_()
    gamma = waves(2.0, 7).requires_grad_()
    beta = waves(3.0, 7).requires_grad_()
    output = F.layer_norm(x, [7], gamma, beta)
    (output * waves(4.0, 5, 7)).sum().backward()
    return [t.flatten().tolist() for t in (output, x.grad, gamma.grad, beta.grad)]


print(
    json.dumps(
        {
            "torch": torch.__version__,
            "layer_norm": layer_norm(),
            "cross": attention(4, 5),
            "causal": attention(5, 5, is_causal=True),
            "scaled": attention(3, 5, scale=-0.25),
        },
        indent=1,
    )
)
