"""Published networks in plain PyTorch, with the names of torchvision (residual networks) and of timm (the others)."""
import torch
from torch import nn
from torch.nn import functional


class Basic(nn.Module):
    expansion = 1

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, stride)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, width, stride):
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def shortcut(inputs, outputs, stride):
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    def __init__(self, block, blocks, classes, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage, count in enumerate(blocks):
            layer = []
            for index in range(count):
                layer.append(block(inputs, width << stage, 2 if stage > 0 and index == 0 else 1))
                inputs = block.expansion * (width << stage)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.fc(x.mean((2, 3)))


class SameConv(nn.Conv2d):
    """A convolution without bias, with TensorFlow's padding: where its zeros are odd in number, there is one more behind."""

    def __init__(self, inputs, outputs, kernel, stride=1, groups=1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x):
        zeros = []
        for size in (x.shape[3], x.shape[2]):
            stride, kernel = self.stride[0], self.kernel_size[0]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            zeros += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, zeros))


def tensorflow_norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


class Separable(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__()
        self.conv_dw = SameConv(inputs, inputs, kernel, stride, inputs)
        self.bn1 = tensorflow_norm(inputs)
        self.relu1 = nn.ReLU6()
        self.conv_pw = SameConv(inputs, outputs, 1)
        self.bn2 = tensorflow_norm(outputs)

    def forward(self, x):
        return self.bn2(self.conv_pw(self.relu1(self.bn1(self.conv_dw(x)))))


class Inverted(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__()
        inner = 6 * inputs
        self.conv_pw = SameConv(inputs, inner, 1)
        self.bn1 = tensorflow_norm(inner)
        self.relu1 = nn.ReLU6()
        self.conv_dw = SameConv(inner, inner, kernel, stride, inner)
        self.bn2 = tensorflow_norm(inner)
        self.relu2 = nn.ReLU6()
        self.conv_pwl = SameConv(inner, outputs, 1)
        self.bn3 = tensorflow_norm(outputs)
        self.around = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.relu1(self.bn1(self.conv_pw(x)))
        y = self.bn3(self.conv_pwl(self.relu2(self.bn2(self.conv_dw(y)))))
        return x + y if self.around else y


class EfficientNetLite0(nn.Module):
    # Channels, blocks, stride, kernel.
    STAGES = [(16, 1, 1, 3), (24, 2, 2, 3), (40, 2, 2, 5), (80, 3, 2, 3), (112, 3, 1, 5), (192, 4, 2, 5), (320, 1, 1, 3)]

    def __init__(self, classes):
        super().__init__()
        self.conv_stem = SameConv(3, 32, 3, 2)
        self.bn1 = tensorflow_norm(32)
        self.relu1 = nn.ReLU6()
        inputs, stages = 32, []
        for index, (outputs, count, stride, kernel) in enumerate(self.STAGES):
            kind, stage = Separable if index == 0 else Inverted, []
            for block in range(count):
                stage.append(kind(inputs, outputs, kernel, stride if block == 0 else 1))
                inputs = outputs
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = SameConv(inputs, 1280, 1)
        self.bn2 = tensorflow_norm(1280)
        self.relu2 = nn.ReLU6()
        self.classifier = nn.Linear(1280, classes)

    def forward(self, x):
        x = self.blocks(self.relu1(self.bn1(self.conv_stem(x))))
        x = self.relu2(self.bn2(self.conv_head(x)))
        return self.classifier(x.mean((2, 3)))


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = torch.softmax(q @ k.transpose(2, 3) / (width // self.heads) ** 0.5, 3) @ v
        return self.proj(seen.transpose(1, 2).reshape(batch, tokens, width))


class Perceptron(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(functional.gelu(self.fc1(x)))


class TransformerBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Perceptron(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
    def __init__(self, width, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    def __init__(self, size, width, classes, patch=16, depth=12):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, width))
        self.patch_embed = PatchEmbedding(width, patch)
        self.blocks = nn.Sequential(*[TransformerBlock(width, width // 64) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])
