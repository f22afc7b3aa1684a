//! Graphs of windows, products, normalisation, recurrence, quantisation, pictures and sequences
//! that can never be right, and what their refusal says.

use sentinel_inference::graph::{infer, text};

const REFUSALS: &[(&str, &str)] = &[
    (
        "input x: f32[1, 3, 8, 8]\n input w: f32[4, 2, 3, 3]\n y = Conv(x, w)\n output y",
        "Conv: channels of x and of w times group: 3 and 2",
    ),
    (
        "input x: f32[1, 4, 8]\n input w: f32[3, 2, 3]\n y = Conv(x, w) {group = 2}\n output y",
        "Conv: 3 features do not split into 2 groups",
    ),
    (
        "input x: f32[1, 1, n]\n input w: f16[1, 1, 3]\n y = Conv(x, w)\n output y",
        "Conv: input 0 is f32, input 1 is f16",
    ),
    (
        "input x: f32[1, 1]\n input w: f32[1, 1]\n y = Conv(x, w)\n output y",
        "Conv: x is [1, 1], expected rank 3 or more",
    ),
    (
        "input x: f32[1, 1, 4]\n input w: f32[1, 1, 3]\n y = Conv(x, w) {dilations = [3]}\n output y",
        "Conv: a window over 7 does not fit spatial axis 0 of 4 with pads 0 and 0",
    ),
    (
        "input x: f32[1, 1, 4]\n input w: f32[1, 1, 3]\n y = Conv(x, w) {strides = [0]}\n output y",
        "Conv: attribute strides is 0, expected 1 or more",
    ),
    (
        "input x: f32[1, 1, 4]\n input w: f32[1, 1, 3]\n y = Conv(x, w) {pads = [1]}\n output y",
        "Conv: pads [1] is not for 1 spatial axes",
    ),
    (
        "input x: f32[1, 1, 4]\n input w: f32[1, 1, 3]\n y = Conv(x, w) {kernel_shape = [2]}\n output y",
        "Conv: kernel of w and kernel_shape: 3 and 2",
    ),
    (
        "input x: f32[1, 1, 4]\n input w: f32[2, 1, 3]\n input b: f32[3]\n y = Conv(x, w, b)\n output y",
        "Conv: axis 0 of bias: 3 and 2",
    ),
    (
        "input x: f32[1, 1, 2]\n input w: f32[1, 1, 2]\n y = ConvTranspose(x, w) {pads = [2, 2]}\n output y",
        "ConvTranspose: pads 2 and 2 leave -1 along spatial axis 0",
    ),
    (
        "input x: f32[1, 1, 2]\n y = MaxPool(x)\n output y",
        "MaxPool: attribute kernel_shape is missing or has another type",
    ),
    (
        "input x: f32[1, 1, 2]\n y = AveragePool(x) {kernel_shape = [1], auto_pad = \"SAME\"}\n output y",
        "AveragePool: auto_pad is \"SAME\"",
    ),
    (
        "input a: f32[8, 64]\n input b: f32[63, 64]\n y = MatMul(a, b)\n output y",
        "MatMul: inner sizes differ: [8, 64] x [63, 64]",
    ),
    (
        "input a: f32[2, 1, 3]\n input b: f32[5, 3, 1]\n y = MatMul(a, b)\n output y",
        "MatMul: [2] and [5] do not broadcast",
    ),
    (
        "input a: f32[]\n input b: f32[3]\n y = MatMul(a, b)\n output y",
        "MatMul: a is [], expected rank 1 or more",
    ),
    (
        "input a: f32[2, 3]\n input b: f32[2, 4]\n y = Gemm(a, b)\n output y",
        "Gemm: inner sizes differ: [2, 3] x [2, 4]",
    ),
    (
        "input a: f32[2, 3]\n input b: f32[3, 4]\n input c: f32[3]\n y = Gemm(a, b, c)\n output y",
        "Gemm: c [3] does not broadcast to [2, 4]",
    ),
    (
        "input x: f32[1, 3, 4]\n input s: f32[4]\n y = BatchNormalization(x, s, s, s, s)\n output y",
        "BatchNormalization: axis 0 of scale: 4 and 3",
    ),
    (
        "input x: f32[1, 5, 4]\n input s: f32[5]\n y = GroupNormalization(x, s, s) {num_groups = 2}\n output y",
        "GroupNormalization: 5 channels do not split into 2 groups",
    ),
    (
        "input x: f32[2, 4]\n input s: f32[3]\n y = LayerNormalization(x, s)\n output y",
        "LayerNormalization: scale or bias [3] does not broadcast to [2, 4]",
    ),
    (
        "input x: f32[5, 1, 3]\n input w: f32[1, 20, 3]\n input r: f32[1, 20, 4]\n y = LSTM(x, w, r) {hidden_size = 5}\n output y",
        "LSTM: axis 2 of r: 4 and 5",
    ),
    (
        "input x: f32[5, 1, 3]\n input w: f32[1, 20, 2]\n input r: f32[1, 20, 5]\n y = LSTM(x, w, r)\n output y",
        "LSTM: axis 2 of w: 2 and 3",
    ),
    (
        "input x: f32[5, 1, 3]\n y = GRU(x, x, x) {direction = \"both\"}\n output y",
        "GRU: direction is \"both\"",
    ),
    (
        "input x: f32[2, 4]\n input s: f32[3]\n y = QuantizeLinear(x, s)\n output y",
        "QuantizeLinear: scales and indices of the axis: 3 and 4",
    ),
    (
        "input x: f32[4]\n input s: f32[]\n input z: u8[]\n y = QuantizeLinear(x, s, z) {output_dtype = 3}\n output y",
        "QuantizeLinear: the zero point is u8, output_dtype names i8",
    ),
    (
        "input u: u8[2, 2]\n input s: f32[]\n y = MatMulInteger(u, u, s)\n output y",
        "MatMulInteger: input 0 is u8, input 2 is f32",
    ),
    (
        "input u: u8[2]\n input i: i8[2]\n input s: f32[]\n y = com.microsoft::QLinearAdd(u, s, _, i, s, _, s)\n output y",
        "com.microsoft::QLinearAdd: input 0 is u8, input 3 is i8",
    ),
    (
        "input x: f32[1, 3, 4]\n const k: f32[2] = [1.0, 2.0]\n y = Resize(x, _, k)\n output y",
        "Resize: 2 scales for 3 axes",
    ),
    (
        "input x: f32[4]\n const k: f32[1] = [-1.0]\n y = Resize(x, _, k)\n output y",
        "Resize: the scale of axis 0 is -1",
    ),
    (
        "opset 23\n input q: f32[1, 3, 2, 8]\n input k: f32[1, 2, 2, 8]\n y = Attention(q, k, k)\n output y",
        "Attention: 3 heads of q for 2 of k and v",
    ),
    (
        "input a: f32[2, 3]\n input b: f32[4, 5]\n y = Einsum(a, b) {equation = \"ij,jk->ik\"}\n output y",
        "Einsum: sizes of j: 3 and 4",
    ),
    (
        "input a: f32[2, 3]\n y = Einsum(a) {equation = \"ij->ik\"}\n output y",
        "Einsum: equation \"ij->ik\" cannot be read",
    ),
    (
        "input x: f32[1, 8, 3]\n y = DFT(x)\n output y",
        "DFT: the last axis of x [1, 8, 3] is not 1 or 2",
    ),
    (
        "input x: f32[1, 3, 4, 4]\n input g: f32[1, 2, 2, 3]\n y = GridSample(x, g)\n output y",
        "GridSample: coordinates of the grid: 3 and 2",
    ),
    (
        "input b: f32[1, 6, 5]\n input c: f32[1, 2, 6]\n y = NonMaxSuppression(b, c)\n output y",
        "NonMaxSuppression: axis 2 of boxes: 5 and 4",
    ),
    (
        "input x: f32[4, 5]\n input t: i64[3]\n y = SoftmaxCrossEntropyLoss(x, t)\n output y",
        "SoftmaxCrossEntropyLoss: axis 0 of target: 3 and 4",
    ),
    (
        "input x: f32[4]\n const k: i64[2] = [1, 2]\n y = SplitToSequence(x, k)\n output y",
        "SplitToSequence: 4 does not split into [1, 2]",
    ),
    (
        "input x: f32[4]\n input p: i64[]\n y = SequenceAt(x, p)\n output y",
        "SequenceAt: input 0 is Tensor, not a sequence",
    ),
    (
        "input x: seq(f32[4])\n input w: f32[1, 1, 1]\n y = Conv(x, w)\n output y",
        "Conv: input 0 is Sequence, not a tensor",
    ),
];

#[test]
fn graphs_that_can_never_be_right_are_refused_by_name_and_numbers() {
    let mut failed = Vec::new();
    for (graph, why) in REFUSALS {
        let found = text::parse(graph).and_then(|mut graph| infer(&mut graph));
        let found = found.map_or_else(|error| error.to_string(), |()| "nothing wrong".into());
        if found != *why {
            failed.push(format!("found {found:?}, expected {why:?}\n {graph}\n"));
        }
    }
    let count = failed.len();
    assert!(
        failed.is_empty(),
        "{count} refusals:\n{}",
        failed.join("\n")
    );
}
