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
from safetensors.torch import save_file
from torch import nn

WIDTH, CLASSES, SHAPE = 1, 3, (2, 3, 45, 39)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs = WIDTH
        for stage in range(4):
            outputs = WIDTH << stage
            first = Block(inputs, outputs, 1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", nn.Sequential(first, Block(outputs, outputs, 1)))
            inputs = outputs
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.fc(x.mean((2, 3)))


def waves(shape, phase):
    values = [math.sin(0.9 * i + phase) + math.cos(0.0007 * i) for i in range(math.prod(shape))]
    return torch.tensor(values).reshape(shape)


folder = Path(sys.argv[1])
torch.manual_seed(0)
network = ResNet().eval()
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
