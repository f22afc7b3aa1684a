//! The pieces of ONNX files, right or wrong.

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub fn int(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value as u64)].concat()
}

pub fn chunk(number: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&varint(number << 3 | 2), &varint(bytes.len() as u64), bytes].concat()
}

/// A model with version 17 of ONNX's operators around the fields of a graph.
pub fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    model_with(graph, &[])
}

pub fn model_with(graph: &[Vec<u8>], more: &[Vec<u8>]) -> Vec<u8> {
    [
        int(1, 8),
        chunk(7, graph.concat()),
        chunk(8, int(2, 17)),
        more.concat(),
    ]
    .concat()
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    chunk(1, node_fields(op, inputs, outputs))
}

pub fn node_fields(op: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|name| chunk(1, name));
    let outputs = outputs.iter().flat_map(|name| chunk(2, name));
    inputs.chain(outputs).chain(chunk(4, op)).collect()
}

/// `float32[2]`
pub fn value(field: u64, name: &str) -> Vec<u8> {
    let shape = chunk(2, chunk(1, int(1, 2)));
    chunk(
        field,
        [
            chunk(1, name),
            chunk(2, chunk(1, [int(1, 1), shape].concat())),
        ]
        .concat(),
    )
}

pub fn input(name: &str) -> Vec<u8> {
    value(11, name)
}

pub fn output(name: &str) -> Vec<u8> {
    value(12, name)
}

pub fn weight(name: &str, tensor: &[Vec<u8>]) -> Vec<u8> {
    chunk(5, [chunk(8, name), tensor.concat()].concat())
}

pub fn floats(name: &str) -> Vec<u8> {
    weight(name, &[int(1, 2), int(2, 1), chunk(9, [0; 8])])
}

pub fn external(name: &str, entries: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![int(1, 2), int(2, 1), int(14, 1)];
    for (key, value) in entries {
        fields.push(chunk(13, [chunk(1, key), chunk(2, value)].concat()));
    }
    weight(name, &fields)
}

pub fn function(name: &str, fields: &[Vec<u8>]) -> Vec<u8> {
    let opset = chunk(9, int(2, 17));
    chunk(
        25,
        [chunk(1, name), chunk(10, "local"), opset, fields.concat()].concat(),
    )
}

pub fn call(name: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    [node_fields(name, inputs, outputs), chunk(7, "local")].concat()
}
