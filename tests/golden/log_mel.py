"""Values for tests/sound.rs: log-mel spectrograms by PyTorch's stft in f64, with the mel bands that torchaudio's
melscale_fbanks (norm=None) and librosa's mel_frequencies publish, written out here.

    pip install torch && python tests/golden/log_mel.py > tests/golden/log_mel.json

Samples are made of a rising tone and a steady one, so that both sides make the same ones without a file.
"""
import json
import math

import torch

torch.set_default_dtype(torch.float64)


def samples(count, phase, loudness):
    values = [
        (math.sin(i * i * 0.0007 + phase) * 0.6 + math.sin(i * 12.9898 + phase * 78.233) * 0.01) * loudness
        for i in range(count)
    ]
    # The other side holds f32.
    return torch.tensor(values, dtype=torch.float32).double()


def hz_to_mel(frequency, scale):
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + frequency / 700.0)
    step, least = 200.0 / 3, 1000.0
    if frequency >= least:
        return least / step + math.log(frequency / least) / (math.log(6.4) / 27.0)
    return frequency / step


def mel_to_hz(mel, scale):
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    step, least = 200.0 / 3, 1000.0
    if mel >= least / step:
        return least * math.exp(math.log(6.4) / 27.0 * (mel - least / step))
    return mel * step


def bank(config):
    """[bins, mels]"""
    bins = config["fft"] // 2 + 1
    frequencies = torch.linspace(0, config["sample_rate"] / 2, bins)
    low, high = (hz_to_mel(config[key], config["scale"]) for key in ("lowest", "highest"))
    mels = torch.linspace(low, high, config["mels"] + 2).tolist()
    corners = torch.tensor([mel_to_hz(mel, config["scale"]) for mel in mels])
    widths = corners[1:] - corners[:-1]
    slopes = corners[None, :] - frequencies[:, None]
    down = -slopes[:, :-2] / widths[:-1]
    up = slopes[:, 2:] / widths[1:]
    return torch.clamp(torch.minimum(down, up), min=0)


def log_mel(config, signal):
    spectrum = torch.stft(
        signal,
        config["fft"],
        hop_length=config["hop"],
        win_length=config["window"],
        window=torch.hann_window(config["window"], periodic=True),
        center=config["padding"] != "none",
        pad_mode="reflect" if config["padding"] == "mirror" else "constant",
        return_complex=True,
    ).abs()
    power = config["spectrum"] == "power"
    energy = bank(config).T @ (spectrum**2 if power else spectrum)
    factor = 10.0 if power else 20.0
    levels = factor * torch.log10(torch.clamp(energy, min=config["floor"]))
    least = factor * math.log10(config["floor"])
    top = max(levels.max().item(), least + config["range"])
    return torch.clamp(1 + (levels - top) / config["range"], min=0)


USUAL = {
    "sample_rate": 16000,
    "window": 400,
    "hop": 160,
    "fft": 512,
    "padding": "mirror",
    "spectrum": "power",
    "mels": 40,
    "lowest": 20.0,
    "highest": 8000.0,
    "scale": "htk",
    "floor": 1e-10,
    "range": 80.0,
}
CASES = [
    (USUAL, 2000, 1.0, 0.7),
    # Everything else, with odd and distinct sizes.
    (
        {
            "sample_rate": 11025,
            "window": 201,
            "hop": 77,
            "fft": 256,
            "padding": "silence",
            "spectrum": "magnitude",
            "mels": 23,
            "lowest": 0.0,
            "highest": 5000.0,
            "scale": "slaney",
            "floor": 1e-6,
            "range": 60.0,
        },
        1111,
        2.0,
        0.3,
    ),
    # So quiet that the floor counts.
    ({**USUAL, "window": 512, "hop": 200, "padding": "none", "mels": 64, "floor": 1e-6}, 1500, 3.0, 1e-3),
]
cases = []
for config, count, phase, loudness in CASES:
    values = log_mel(config, samples(count, phase, loudness))
    cases.append(
        {
            "config": config,
            "samples": count,
            "phase": phase,
            "loudness": loudness,
            "frames": values.shape[1],
            "values": [round(value, 9) for value in values.flatten().tolist()],
        }
    )
print(json.dumps({"cases": cases}))
