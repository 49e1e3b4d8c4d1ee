"""Files of weights as PyTorch's users have them, of one small ResNet-18 with torchvision's names, and what it says of an image:

- weights.pth: a checkpoint in today's format, saved from data parallel training, with a view and a parameter among its tensors;
- weights_legacy.pth: a state_dict in the format before PyTorch 1.6;
- weights.safetensors: the same in f16;
- weights.json: the network's input and its outputs.

    pip install torch numpy safetensors && python tests/golden/weights.py tests/golden
"""
import json
import math
import sys
from pathlib import Path

import torch
from models import Basic, ResNet
from safetensors.torch import save_file
from torch import nn

WIDTH, CLASSES, SHAPE = 1, 3, (2, 3, 45, 39)


def waves(shape, phase):
    values = [math.sin(0.9 * i + phase) + math.cos(0.0007 * i) for i in range(math.prod(shape))]
    return torch.tensor(values).reshape(shape)


folder = Path(sys.argv[1])
torch.manual_seed(0)
network = ResNet(Basic, [2, 2, 2, 2], CLASSES, WIDTH).eval()
for name, value in network.state_dict().items():
    # What f16 holds too. Norms that let something through, and statistics of their own.
    if "num_batches" in name:
        value.fill_(7)
    elif "running_var" in name:
        value.uniform_(0.5, 1.5)
    elif name.endswith("weight") and value.dim() == 1:
        value.uniform_(0.5, 1)
    elif value.dim() == 1:
        value.uniform_(-0.2, 0.6)
    else:
        value.normal_(0, math.sqrt(1 / value[0].numel()))
    if value.is_floating_point():
        value.copy_(value.half())
weights = network.state_dict()

parallel = nn.DataParallel(network).state_dict()
parallel["module.fc.weight"] = weights["fc.weight"].t().contiguous().t()
parallel["module.fc.bias"] = nn.Parameter(weights["fc.bias"])
both = torch.cat([weights["bn1.weight"], weights["bn1.bias"]])
parallel["module.bn1.weight"], parallel["module.bn1.bias"] = both[:WIDTH], both[WIDTH:]
optimizer = torch.optim.SGD(network.parameters(), 0.1)
checkpoint = {"epoch": 3, "best": 0.5, "arch": "resnet18", "state_dict": parallel, "optimizer": optimizer.state_dict()}
torch.save(checkpoint, folder / "weights.pth")
torch.save(weights, folder / "weights_legacy.pth", _use_new_zipfile_serialization=False)
save_file({name: value.half() for name, value in weights.items() if "num" not in name}, folder / "weights.safetensors")

with torch.no_grad():
    outputs = network(waves(SHAPE, 1.0)).double()
golden = {
    "classes": CLASSES,
    "width": WIDTH,
    "shape": SHAPE,
    "outputs": [float(f"{value:.9g}") for value in outputs.flatten().tolist()],
}
(folder / "weights.json").write_text(json.dumps(golden) + "\n")
