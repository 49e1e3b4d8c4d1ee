"""Whether ONNX's checker takes the models NAME.onnx of a folder, and ONNX Runtime computes with them what this library does:
`tests/onnx.rs` writes them, with NAME.BATCH.input and NAME.BATCH.output, which are f32 in little-endian order.

    cargo xtask onnx

installs onnx_requirements.txt into a virtual environment and runs all of it.
"""
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime

BATCHES = [1, 7]
# Of the largest value of an output. Sums in another order are less than a tenth of that apart.
TOLERANCE = 1e-5
# Of models in 8 bits.
MANY = 200
MOST_OTHERS = 0.005
CLEAR = 0.02
LEVELS = [
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
]


def numbers(file, sizes):
    """A batch of as many examples as the file's name says."""
    return numpy.fromfile(file, "<f4").reshape(sizes)


def both(path, session, batch):
    """ONNX Runtime's output and ours."""
    [taken], [given] = session.get_inputs(), session.get_outputs()
    for value in taken, given:
        if value.shape[0] != "batch":
            raise ValueError(f"{value.name} is {value.shape}: the batch is not left open")
    images = numbers(path.with_suffix(f".{batch}.input"), [batch, *taken.shape[1:]])
    expected = numbers(path.with_suffix(f".{batch}.output"), [batch, *given.shape[1:]])
    [output] = session.run([given.name], {taken.name: images})
    if output.shape != expected.shape:
        raise ValueError(f"{given.name} is {output.shape} instead of {expected.shape}")
    return output, expected


def difference(path, session, batch):
    """Between ONNX Runtime's output and ours, of the largest value."""
    output, expected = both(path, session, batch)
    # NaN is no agreement.
    return float(numpy.max(numpy.abs(output - expected)) / numpy.max(numpy.abs(expected)))


def check(path):
    """The largest difference of a model, which must be in order."""
    onnx.checker.check_model(str(path), full_check=True)
    worst = 0.0
    for level in LEVELS:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        # A warning says that something in the graph is of no use.
        options.log_severity_level = 2
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        for batch in BATCHES:
            found = difference(path, session, batch)
            if not found <= TOLERANCE:
                raise ValueError(f"batch {batch}, {level}: {found:.1e} of the largest value apart")
            worst = max(worst, found)
    return worst


def check_int8(path):
    """The part of many examples of which another output is clearly the largest, as rounding goes to either side at the edges;
    at full optimization every convolution is one of integers, but those that make luminance of colours."""
    onnx.checker.check_model(str(path), full_check=True)
    convolutions = sum(node.op_type == "Conv" for node in onnx.load(path).graph.node)
    worst = 0.0
    for level in LEVELS:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        optimized = path.with_suffix(".optimized")
        options.optimized_model_filepath = str(optimized)
        # That what it wrote is for this machine alone.
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        for batch in BATCHES:
            both(path, session, batch)
        output, expected = both(path, session, MANY)
        ahead = numpy.sort(expected, 1)
        clear = ahead[:, -1] - ahead[:, -2] > CLEAR * numpy.max(numpy.abs(expected))
        found = float(numpy.mean((output.argmax(1) != expected.argmax(1)) & clear))
        apart = float(numpy.max(numpy.abs(output - expected)) / numpy.max(numpy.abs(expected)))
        if not (found <= MOST_OTHERS and apart < 0.1):
            raise ValueError(f"{level}: {found:.1%} others, {apart:.1e} apart")
        worst = max(worst, found)
        if level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL:
            kinds = [node.op_type for node in onnx.load(optimized).graph.node]
            integer = sum(kind in ("QLinearConv", "ConvInteger") for kind in kinds)
            floats = [kind for kind in kinds if kind in ("Conv", "FusedConv")]
            if integer != convolutions or floats:
                raise ValueError(f"{integer} of {convolutions} convolutions are of integers; {floats}")
    return worst


def main(folder):
    paths, wrong = sorted(Path(folder).glob("*.onnx")), []
    for path in paths:
        try:
            if path.stem.endswith("_int8"):
                print(f"{path.stem}: {check_int8(path):.1%} of the answers are others")
            else:
                print(f"{path.stem}: {check(path):.1e}")
        except Exception as problem:
            wrong.append(f"{path.stem}: {problem}")
    if wrong or not paths:
        sys.exit("\n".join(wrong or ["there are no models"]))
    print(f"{len(paths)} models agree, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")


main(*sys.argv[1:])
