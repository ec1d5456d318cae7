"""The selective scan in standard ONNX operators: two levels of ``Scan``.

A sequence is cut into about as many chunks as a chunk has steps. All chunks are scanned at once,
each from an empty state; a second ``Scan`` over the chunks carries the states on; a third one scans
the chunks again, each from the state that it is reached with. Decays are multiplied and never
divided by, so that none, however strong, can overflow or be lost.

States are ``(chunks, state, dim)``: steps and inputs broadcast along whole rows of channels, and
reading a state out is one small matrix product for each chunk. What a step makes stays in
the cache: decays made for all steps beforehand took longer, and chunks of other lengths saved next
to nothing.
"""

from onnxscript import FLOAT, graph, script
from onnxscript import opset18 as op
from onnxscript.values import Opset

from ...errors import InputError

# A domain only until the function is inlined: see ``to_onnx``.
FUNCTIONS = Opset('mmvision_mamba.functions', 1)


@script(FUNCTIONS, default_opset=op)
def two_level_scan(
    u: FLOAT[...], delta: FLOAT[...], A: FLOAT[...], B: FLOAT[...], C: FLOAT[...]
) -> FLOAT[...]:
    """``h = exp(delta A) h + delta B u``, ``y = C h``.

    ``u`` and ``delta`` ``(batch, length, dim)``, ``A`` ``(dim, state)``, ``B`` and ``C`` ``(batch,
    length, state)``; the result is shaped like ``u``.
    """
    zero = op.Constant(value_ints=[0])
    one = op.Constant(value_ints=[1])
    batch = op.Shape(u, start=0, end=1)
    length = op.Shape(u, start=1, end=2)
    dim = op.Shape(u, start=2, end=3)
    state = op.Shape(A, start=1, end=2)
    steps = op.Cast(op.Ceil(op.Sqrt(op.Cast(length, to=1))), to=7)
    chunks = op.Div(length + steps - one, steps)
    rows = batch * chunks
    # A step of no size neither decays the state nor adds to it.
    pads = op.Concat(zero, zero, zero, zero, chunks * steps - length, zero, axis=0)
    split = op.Concat(batch, chunks, steps, op.Constant(value_ints=[-1]), axis=0)
    deltas = op.Reshape(op.Pad(delta, pads), split)
    drives = op.Reshape(op.Pad(delta * u, pads), split)
    inputs = op.Reshape(op.Pad(B, pads), split)
    readouts = op.Reshape(op.Pad(C, pads), split)

    rates = op.Transpose(A, perm=[1, 0])  # (state, dim)
    totals = op.Exp(op.ReduceSum(deltas, op.Constant(value_ints=[2]), keepdims=1) * rates)

    # Steps first: (steps, rows, 1, dim), (steps, rows, state, 1) and (steps, rows, 1, state).
    by_step = op.Concat(steps, rows, one, dim, axis=0)
    deltas = op.Reshape(op.Transpose(deltas, perm=[2, 0, 1, 3]), by_step)
    drives = op.Reshape(op.Transpose(drives, perm=[2, 0, 1, 3]), by_step)
    inputs = op.Reshape(
        op.Transpose(inputs, perm=[2, 0, 1, 3]), op.Concat(steps, rows, state, one, axis=0)
    )
    readouts = op.Reshape(
        op.Transpose(readouts, perm=[2, 0, 1, 3]), op.Concat(steps, rows, one, state, axis=0)
    )

    @graph()
    def step(h, step_delta, step_drive, step_input):
        moved = op.Exp(step_delta * rates) * h + step_input * step_drive
        return moved

    empty = op.ConstantOfShape(op.Concat(rows, state, dim, axis=0))
    gained = op.Scan(empty, deltas, drives, inputs, body=step, num_scan_inputs=3)

    @graph()
    def carry(reached, total, gain):
        before = op.Identity(reached)
        after = total * reached + gain
        return after, before

    _, starts = op.Scan(
        op.ConstantOfShape(op.Concat(batch, state, dim, axis=0)),
        totals,
        op.Reshape(gained, op.Concat(batch, chunks, state, dim, axis=0)),
        body=carry,
        num_scan_inputs=2,
        scan_input_axes=[1, 1],
        scan_output_axes=[1],
    )

    @graph()
    def step_and_read(h, step_delta, step_drive, step_input, readout):
        moved = op.Exp(step_delta * rates) * h + step_input * step_drive
        y = op.MatMul(readout, moved)
        return moved, y

    starts = op.Reshape(starts, op.Concat(rows, state, dim, axis=0))
    _, y = op.Scan(starts, deltas, drives, inputs, readouts, body=step_and_read, num_scan_inputs=4)
    y = op.Reshape(y, op.Concat(steps, batch, chunks, dim, axis=0))
    y = op.Transpose(y, perm=[1, 2, 0, 3])
    y = op.Reshape(y, op.Concat(batch, chunks * steps, dim, axis=0))
    return op.Slice(y, zero, length, one)


def selective_scan(
    u, delta, A, B, C, D=None, delta_bias=None, delta_softplus: bool = False, backend: str = 'auto'
):
    """The translation of ``torch.ops.mmvision_mamba.selective_scan``, whose shapes these are.

    Raises:
        InputError: B and C have several groups, for which nothing here is written.
    """
    if B.shape[2] != 1 or C.shape[2] != 1:
        raise InputError(
            f'a selective scan has {B.shape[2]} groups; ONNX is written for those of one'
        )
    group = op.Constant(value_ints=[2])
    if delta_bias is not None:
        delta = op.Add(delta, delta_bias)
    if delta_softplus:
        delta = softplus(delta)
    y = two_level_scan(u, delta, A, op.Squeeze(B, group), op.Squeeze(C, group))
    return y if D is None else op.Add(y, op.Mul(u, D))


@script(FUNCTIONS, default_opset=op)
def softplus(x: FLOAT[...]) -> FLOAT[...]:
    """``log(1 + exp(x))`` to float32's precision: onnxruntime's ``Softplus`` loses small steps."""
    e = op.Exp(-op.Abs(x))
    whole = 1.0 + e
    # What rounding takes from 1 + e is given back in proportion.
    lost = op.Where(whole == 1.0, e, op.Log(whole) * e / (whole - 1.0))
    return op.Relu(x) + lost
