"""Tensors for the other scripts here: random ones, and their JSON."""
import json

import torch


def draw(rng, *shape, scale=1.0, around=0.0, unit=256):
    """Random numbers that are whole multiples of 1 / `unit`, so that f32 holds them exactly."""
    count = torch.Size(shape).numel()
    values = [round((around + scale * rng.uniform(-1, 1)) * unit) / unit for _ in range(count)]
    return torch.tensor(values).reshape(shape)


def text(found):
    return lines(plain(found))


def plain(value):
    """Without tensors, floats to 12 digits."""
    if isinstance(value, torch.Tensor):
        return {"shape": list(value.shape), "values": plain(value.flatten().tolist())}
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def lines(value, indent=""):
    """JSON with a line for each tensor."""
    if isinstance(value, dict) and value and "values" not in value:
        deeper = indent + " "
        rows = [f"{deeper}{json.dumps(name)}: {lines(v, deeper)}" for name, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        deeper = indent + " "
        return "[\n" + ",\n".join(deeper + lines(v, deeper) for v in value) + f"\n{indent}]"
    return json.dumps(value)
