"""The peer of forgeling-bench: training steps as a user of PyTorch writes them.

    python torch_bench.py THREADS cpu|cuda|cuda-amp

On CUDA, f32 is f32 (TF32 is off), and `amp` is automatic mixed precision in f16 with a scaled loss. Greets with its name, a
tab and its device, or says "none" and ends where there is no CUDA. Requests are lines on standard input, answers on standard output:

    protonet FILTERS EPISODES BATCHES   then the batches' images as little-endian f32; answers "ready"
    mlp BATCHES                         then the batches' images and labels; answers "ready"
    resnet BATCHES                      then the batches' images and labels; answers "ready"
    pathways TRAINING BATCHES           likewise; only forward and in evaluation mode unless TRAINING is 1
    depthwise CHANNELS KERNEL STRIDE TRAINING   then images and weights, [8, CHANNELS, 56, 56]; with gradients if TRAINING
                                        is 1; answers "ready"
    run STEPS                           answers the milliseconds of each step and the last loss
"""

import sys
import time
import warnings

# Nothing here needs NumPy.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")

import torch
import torch.nn.functional as F
from torch import nn

WAYS, SHOTS, QUERIES, SIZE = 5, 5, 15, 28
BATCH, PIXELS, CLASSES, HIDDEN = 128, 784, 10, 400


class Trainer:
    """A model's steps on one device, in f32 or with automatic mixed precision."""

    def __init__(self, model, device, amp):
        self.model = model.to(device)
        self.device = device
        self.amp = amp
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        self.scaler = torch.amp.GradScaler(device, enabled=amp)

    def step(self, loss_of):
        self.optimizer.zero_grad()
        with torch.autocast(self.device, torch.float16, enabled=self.amp):
            loss = loss_of(self.model)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()


class ProtoNet(nn.Module):
    def __init__(self, filters):
        super().__init__()
        self.encoder = nn.Sequential(*(self.block(1 if i == 0 else filters, filters) for i in range(4)))

    @staticmethod
    def block(inputs, outputs):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )

    def forward(self, images, episodes):
        """Negative squared distances `[episodes, queries, ways]` of all queries to their episode's prototypes."""
        features = self.encoder(images).flatten(1)
        support, query = features.split([episodes * WAYS * SHOTS, episodes * WAYS * QUERIES])
        prototypes = support.view(episodes, WAYS, SHOTS, -1).mean(2)
        query = query.view(episodes, WAYS * QUERIES, -1)
        return -((query[:, :, None] - prototypes[:, None]) ** 2).sum(-1)


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """As usual for images of 32 by 32: a stem of 3 by 3 without pooling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        blocks, inputs = [], 64
        for stage in range(4):
            for block in range(2):
                outputs, stride = 64 << stage, 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, CLASSES)

    def forward(self, images):
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


class Integration(nn.Module):
    """Weighs its inputs by learned shares and adds two convolutions of all of them side by side."""

    def __init__(self, inputs, channels):
        super().__init__()
        self.shares = nn.Parameter(torch.zeros(inputs))
        self.mix = nn.Sequential(
            nn.Conv2d(inputs * channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, *inputs):
        shares = self.shares.softmax(0)
        mixed = sum(share * x for share, x in zip(shares, inputs))
        return F.relu(mixed + self.mix(torch.cat(inputs, 1)))


class Pathways(nn.Module):
    """Residual pathways of colour and luminance with an integration after each of two stages."""

    def __init__(self, width=32):
        super().__init__()
        stem = lambda inputs: nn.Sequential(
            nn.Conv2d(inputs, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stems = nn.ModuleList([stem(3), stem(1)])
        stages = [(width, width, 1), (width, 2 * width, 2)]
        self.stages = nn.ModuleList(nn.ModuleList([BasicBlock(*stage), BasicBlock(*stage)]) for stage in stages)
        self.integrations = nn.ModuleList([Integration(2, width), Integration(3, 2 * width)])
        self.previous = nn.Sequential(
            nn.AvgPool2d(3, 2, 1, count_include_pad=False),
            nn.Conv2d(width, 2 * width, 1, bias=False),
            nn.BatchNorm2d(2 * width),
        )
        self.head = nn.Linear(2 * width, CLASSES)
        self.register_buffer("luminance", torch.tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1))

    def forward(self, images):
        paths = [images, (images * self.luminance).sum(1, keepdim=True)]
        paths = [stem(x) for stem, x in zip(self.stems, paths)]
        paths = [stage(x) for stage, x in zip(self.stages[0], paths)]
        first = self.integrations[0](*paths)
        paths = [stage(x) for stage, x in zip(self.stages[1], paths)]
        return self.head(self.integrations[1](*paths, self.previous(first)).mean((2, 3)))


def read(*shape):
    """Numbers that follow a request."""
    count = 4 * torch.Size(shape).numel()
    data = bytearray(sys.stdin.buffer.read(count))
    if len(data) != count:
        raise EOFError("the batches are cut off")
    return torch.frombuffer(data, dtype=torch.float32).view(shape)


def protonet(place, filters, episodes, batches):
    trainer = Trainer(ProtoNet(filters), *place)
    device = trainer.device
    images = [read(episodes * WAYS * (SHOTS + QUERIES), 1, SIZE, SIZE).to(device) for _ in range(batches)]
    targets = torch.arange(WAYS, device=device).repeat_interleave(QUERIES).repeat(episodes)

    def step(index):
        batch = images[index % batches]
        return trainer.step(lambda model: F.cross_entropy(model(batch, episodes).flatten(0, 1), targets))

    return step


def classifier(place, model, shape, batches):
    trainer = Trainer(model, *place)
    device = trainer.device
    data = [(read(*shape).to(device), read(shape[0]).long().to(device)) for _ in range(batches)]

    def step(index):
        images, labels = data[index % batches]
        return trainer.step(lambda model: F.cross_entropy(model(images), labels))

    return step


def mlp(place, batches):
    model = nn.Sequential(
        nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)
    )
    return classifier(place, model, (BATCH, PIXELS), batches)


def resnet(place, batches):
    return classifier(place, ResNet18(), (32, 3, 32, 32), batches)


def pathways(place, training, batches):
    model, shape = Pathways(), (8, 3, 224, 224)
    if training:
        return classifier(place, model, shape, batches)
    device, amp = place
    model.to(device).eval()
    # The labels that follow each batch are of no use here.
    data = [(read(*shape).to(device), read(shape[0]))[0] for _ in range(batches)]

    def step(index):
        with torch.no_grad(), torch.autocast(device, torch.float16, enabled=amp):
            return model(data[index % batches])[0, 0].item()

    return step


def depthwise(place, channels, kernel, stride, training):
    device, amp = place
    convolve = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    images = read(8, channels, 56, 56).to(device).requires_grad_(bool(training))
    convolve.weight.data = read(channels, 1, kernel, kernel)
    convolve.to(device)

    def step(_):
        images.grad = convolve.weight.grad = None
        with torch.set_grad_enabled(bool(training)), torch.autocast(device, torch.float16, enabled=amp):
            y = convolve(images)
            loss = y.sum() if training else y[0, 0, 0, 0]
        if training:
            loss.backward()
        return loss.item()

    return step


def greeting(threads, device, amp):
    """Name and device, or None where there is no such device."""
    name = f"PyTorch {torch.__version__}"
    if device == "cpu":
        return f"{name}\tcpu (torch, {threads} threads)"
    if not torch.cuda.is_available():
        return None
    precision = "f16 AMP" if amp else "f32"
    return f"{name} CUDA {precision}\t{torch.cuda.get_device_name()} (cuda)"


def main():
    threads, mode = int(sys.argv[1]), sys.argv[2]
    device, amp = mode.removesuffix("-amp"), mode.endswith("-amp")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    hello = greeting(threads, device, amp)
    print(hello or "none", flush=True)
    if hello is None:
        return
    step, done = None, 0
    # Not an iterator, which would read ahead into the batches.
    while line := sys.stdin.buffer.readline():
        request, *numbers = line.decode().split()
        numbers = [int(number) for number in numbers]
        if request == "run":
            times = []
            for _ in range(numbers[0]):
                begun = time.perf_counter()
                loss = step(done)
                times.append(1000 * (time.perf_counter() - begun))
                done += 1
            print(*times, loss, flush=True)
        else:
            prepare = {"protonet": protonet, "mlp": mlp, "resnet": resnet, "pathways": pathways, "depthwise": depthwise}
            step, done = prepare[request]((device, amp), *numbers), 0
            print("ready", flush=True)


if __name__ == "__main__":
    main()
