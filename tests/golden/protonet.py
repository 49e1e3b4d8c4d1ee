"""Values for tests/golden.rs: three Adam steps of ProtoNet in PyTorch, f64.

    pip install torch && python tests/golden/protonet.py > tests/golden/protonet.json

Weights and images are made of sines, so that both sides make the same ones without a file.
"""
import json
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)

EPISODES, WAYS, SHOTS, QUERIES, FILTERS, BLOCKS, SIZE = 2, 3, 2, 4, 5, 2, 9


def waves(count, phase, *shape):
    values = [
        math.sin(i * 12.9898 + phase * 78.233) * 0.6 + math.cos(i * 0.37 + phase) * 0.4 for i in range(count)
    ]
    # The other side holds f32.
    return torch.tensor(values, dtype=torch.float32).double().reshape(shape)


class Block(torch.nn.Module):
    def __init__(self, index):
        super().__init__()
        inputs = 1 if index == 0 else FILTERS
        self.conv = torch.nn.Conv2d(inputs, FILTERS, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(FILTERS)
        with torch.no_grad():
            self.conv.weight.copy_(waves(FILTERS * inputs * 9, 10.0 + index, FILTERS, inputs, 3, 3) * 0.5)
            self.conv.bias.copy_(waves(FILTERS, 20.0 + index, FILTERS))

    def forward(self, x):
        return F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)


encoder = torch.nn.Sequential(*[Block(i) for i in range(BLOCKS)], torch.nn.Flatten())
optimizer = torch.optim.Adam(encoder.parameters(), lr=0.01)
steps = []
for step in range(3):
    count = EPISODES * WAYS
    support = waves(count * SHOTS * SIZE * SIZE, 30.0 + step, count * SHOTS, 1, SIZE, SIZE)
    query = waves(count * QUERIES * SIZE * SIZE, 40.0 + step, count * QUERIES, 1, SIZE, SIZE)
    features = encoder(torch.cat([support, query]))
    prototypes = features[: count * SHOTS].reshape(EPISODES, WAYS, SHOTS, -1).mean(2)
    queries = features[count * SHOTS :].reshape(EPISODES, WAYS * QUERIES, -1)
    logits = -torch.cdist(queries, prototypes).pow(2)
    labels = torch.arange(WAYS).repeat_interleave(QUERIES).repeat(EPISODES)
    loss = F.cross_entropy(logits.reshape(-1, WAYS), labels)
    right = (logits.argmax(2) == labels.reshape(EPISODES, -1)).double().mean()
    steps.append({"loss": loss.item(), "accuracy": right.item()})
    if step == 0:
        # Later ones hold the convolution's bias, whose true gradient is zero under batch norm: Adam turns its
        # rounding errors into full steps.
        statistics = {
            "running_mean": encoder[BLOCKS - 1].norm.running_mean.tolist(),
            "running_var": encoder[BLOCKS - 1].norm.running_var.tolist(),
        }
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

last = encoder[BLOCKS - 1]
print(
    json.dumps(
        {
            "torch": torch.__version__,
            "steps": steps,
            "after_first_step": statistics,
            "gamma": last.norm.weight.tolist(),
            "beta": last.norm.bias.tolist(),
        },
        indent=1,
    )
)
