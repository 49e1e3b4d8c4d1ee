"""Values for tests/training_state.rs: the learning rates of PyTorch's schedulers.

    pip install torch
    python tests/golden/schedules.py > tests/golden/schedules.json
"""
import json
import warnings

import torch
from torch.optim import lr_scheduler as schedulers

warnings.filterwarnings("ignore")


def warmed(steps, make):
    """`make` after a rise to the first rate in the step before it begins."""

    def both(optimizer):
        rise = schedulers.LinearLR(optimizer, start_factor=1.0 / steps, total_iters=steps - 1)
        return schedulers.SequentialLR(optimizer, [rise, make(optimizer)], milestones=[steps])

    return both


def rates(schedule, rate, count, make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = make(optimizer)
    values = []
    for _ in range(count):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"schedule": schedule, "rates": values}


def cosine(optimizer):
    return schedulers.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.01)


def cycle(steps, rising, start, end):
    schedule = {
        "kind": "one_cycle",
        "peak": 0.5,
        "start_divisor": start,
        "end_divisor": end,
        "rising": rising,
        "steps": steps,
    }
    return rates(
        schedule,
        0.1,
        steps,
        lambda optimizer: schedulers.OneCycleLR(
            optimizer, 0.5, total_steps=steps, pct_start=rising, div_factor=start, final_div_factor=end
        ),
    )


COSINE = {"kind": "cosine", "initial": 0.3, "floor": 0.01, "steps": 20}
DECAY = {"kind": "step_decay", "initial": 0.2, "factor": 0.3, "every": 4}
CASES = [
    rates({"kind": "constant", "rate": 0.05}, 0.05, 5, lambda o: schedulers.ConstantLR(o, 1.0)),
    rates({"kind": "halving", "initial": 0.8, "every": 3}, 0.8, 12, lambda o: schedulers.StepLR(o, 3, 0.5)),
    rates(DECAY, 0.2, 20, lambda o: schedulers.StepLR(o, 4, 0.3)),
    # Beyond its end PyTorch's goes up again.
    rates(COSINE, 0.3, 21, cosine),
    rates(
        {"kind": "linear", "initial": 0.4, "last": 0.02, "steps": 9},
        0.4,
        15,
        lambda o: schedulers.LinearLR(o, start_factor=1.0, end_factor=0.05, total_iters=9),
    ),
    cycle(30, 0.3, 25.0, 1e4),
    cycle(17, 0.45, 4.0, 10.0),
    rates({"kind": "warm_up", "steps": 5, "then": COSINE}, 0.3, 25, warmed(5, cosine)),
    rates(
        {"kind": "warm_up", "steps": 3, "then": DECAY}, 0.2, 20, warmed(3, lambda o: schedulers.StepLR(o, 4, 0.3))
    ),
]
print(json.dumps(CASES))
