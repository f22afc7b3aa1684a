//! Sizes that are not there, and too much of what is there.

use sentinel_inference::error::ErrorKind;
use sentinel_inference::graph::text::parse;
use sentinel_inference::model::onnx::{WriteOptions, read_tensor_proto, write};

use crate::memory::peak_bytes;
use crate::wire::{chunk, input, int, model, node, node_fields, output, varint, weight};
use crate::{check, refused, try_read};

#[test]
fn tensors_that_contradict_themselves_are_refused() {
    let eight = chunk(9, [0; 8]);
    let cases: &[(&str, &[Vec<u8>], &str)] = &[
        (
            "short data",
            &[int(1, 3), int(2, 1), eight.clone()],
            "f32[3] takes 12 bytes, 8 are there",
        ),
        (
            "no data",
            &[int(1, 3), int(2, 1)],
            "f32[3] takes 12 bytes, 0 are there",
        ),
        (
            "negative",
            &[int(1, -2), int(2, 1), eight.clone()],
            "a dimension cannot be -2",
        ),
        (
            "huge",
            &[int(1, i64::MAX), int(1, i64::MAX), int(2, 1), eight.clone()],
            "too large",
        ),
        (
            "huge zero",
            &[int(1, i64::MAX), int(1, 4), int(1, 0), int(2, 1)],
            "too large",
        ),
        (
            "huge f64",
            &[int(1, i64::MAX / 2), int(2, 11), eight.clone()],
            "does not fit",
        ),
        (
            "huge string",
            &[int(1, 1 << 40), int(2, 8), chunk(6, "a")],
            "1 strings cannot be",
        ),
        (
            "no type",
            &[int(1, 2), eight.clone()],
            "element type 0 does not exist",
        ),
        (
            "type 29",
            &[int(1, 2), int(2, 29), eight.clone()],
            "element type 29 does not exist",
        ),
        (
            "raw string",
            &[int(1, 2), int(2, 8), eight.clone()],
            "strings cannot be raw",
        ),
        (
            "odd string",
            &[int(1, 1), int(2, 8), chunk(6, [0xff])],
            "a string is not UTF-8",
        ),
        (
            "two fields",
            &[int(1, 2), int(2, 1), eight.clone(), chunk(4, [0; 8])],
            "in two fields",
        ),
        (
            "two typed fields",
            &[int(1, 1), int(2, 1), int(5, 1), int(7, 1)],
            "in two fields",
        ),
        (
            "other field",
            &[int(1, 1), int(2, 1), int(7, 1)],
            "in another field than float_data",
        ),
        (
            "cut float",
            &[int(1, 1), int(2, 1), chunk(4, [0; 3])],
            "a packed number is cut off",
        ),
        (
            "cut varint",
            &[int(1, 1), int(2, 7), chunk(7, [0x80])],
            "a packed number is cut off",
        ),
        (
            "segment",
            &[int(1, 2), int(2, 1), chunk(3, ""), eight.clone()],
            "split into segments",
        ),
    ];
    for (name, tensor, expected) in cases {
        let graph = [
            input("x"),
            node("Add", &["x", "w"], &["y"]),
            output("y"),
            weight("w", tensor),
        ];
        check(name, &model(&graph), expected);
        let error = refused(&model(&graph));
        assert!(
            error.at.contains('w') || error.at.contains("TensorProto"),
            "{error}"
        );
        assert!(read_tensor_proto(&tensor.concat()).is_err(), "{name}");
    }
}

#[test]
fn nesting_bombs_are_refused() {
    let mut graph = [node("Neg", &["x"], &["y"]), output("y")].concat();
    let mut shape = chunk(1, int(1, 1));
    for _ in 0..2000 {
        let attribute = [chunk(1, "body"), chunk(6, &graph), int(20, 5)].concat();
        let loops = [node_fields("Loop", &["x"], &["y"]), chunk(5, attribute)].concat();
        graph = [chunk(1, loops), output("y")].concat();
        shape = chunk(4, chunk(1, &shape));
    }
    check(
        "graphs",
        &model(&[input("x"), graph]),
        "messages nest deeper than 64",
    );
    let typed = chunk(11, [chunk(1, "x"), chunk(2, &shape)].concat());
    check("types", &model(&[typed]), "messages nest deeper than 64");
}

#[test]
fn graphs_nest_to_a_depth_that_can_be_written() {
    let nested = |depth: usize| {
        let mut text = "x1 = Neg(x)\noutput x1\n".to_owned();
        for level in 0..depth {
            text = format!("y{level} = Loop(x) body {{\n{text}}}\noutput y{level}\n");
        }
        parse(&format!("input x: f32\n{text}")).unwrap()
    };
    let write = |depth| {
        write(&nested(depth), &WriteOptions::default())
            .unwrap()
            .model
    };
    assert!(try_read(&write(15)).is_ok());
    check("16 bodies", &write(16), "graphs nest deeper than 16");
}

#[test]
fn declared_sizes_cost_nothing() {
    let length = |n: u64| [varint(7 << 3 | 2), varint(n), vec![0; 4]].concat();
    for n in [
        5,
        1 << 20,
        1 << 31,
        1 << 32,
        1 << 40,
        u64::MAX >> 1,
        u64::MAX,
    ] {
        let (error, peak) = peak_bytes(|| refused(&[int(1, 8), length(n)].concat()));
        assert!(error.why.contains("bytes are declared"), "{error}");
        assert!(peak < 10_000, "{peak} bytes for a declared {n}");
    }
    for dim in [1 << 20, 1 << 31, 1 << 40, i64::MAX] {
        let tensor = weight("w", &[int(1, dim), int(2, 2), chunk(9, [0; 8])]);
        let bytes = model(&[input("x"), tensor, output("x")]);
        let (_, peak) = peak_bytes(|| refused(&bytes));
        assert!(
            peak < 20_000,
            "{peak} bytes for a declared dimension of {dim}"
        );
    }
}

#[test]
fn many_small_things_cost_a_bounded_multiple_of_the_file() {
    let many = |field: &[u8], n: usize| field.repeat(n);
    let x = input("x");
    let graphs: &[(&str, Vec<u8>)] = &[
        ("empty nodes", many(&chunk(1, ""), 100_000)),
        (
            "small nodes",
            many(&chunk(1, node_fields("N", &[], &[""])), 100_000),
        ),
        ("empty attributes", chunk(1, many(&chunk(5, ""), 100_000))),
        (
            "small attributes",
            chunk(1, many(&chunk(5, chunk(1, "a")), 100_000)),
        ),
        (
            "empty inputs of a node",
            chunk(1, many(&chunk(1, ""), 100_000)),
        ),
        ("empty values", many(&chunk(13, ""), 100_000)),
        ("small values", many(&chunk(13, chunk(1, "v")), 100_000)),
        ("small tensors", many(&chunk(5, chunk(8, "t")), 100_000)),
        (
            "empty dims",
            chunk(
                11,
                [
                    chunk(1, "x"),
                    chunk(2, chunk(1, chunk(2, many(&chunk(1, ""), 100_000)))),
                ]
                .concat(),
            ),
        ),
        (
            "small ints",
            chunk(5, [chunk(8, "t"), chunk(7, [0; 100_000])].concat()),
        ),
        (
            "empty strings",
            chunk(
                5,
                [chunk(8, "t"), int(2, 8), many(&chunk(6, ""), 100_000)].concat(),
            ),
        ),
    ];
    for (name, graph) in graphs {
        let bytes = model(&[x.clone(), graph.clone()]);
        let (result, peak) = peak_bytes(|| try_read(&bytes).map(|_| ()));
        let times = peak / bytes.len();
        println!(
            "{name}: {} bytes, {times} times that at the peak",
            bytes.len()
        );
        assert!(result.is_err(), "{name}");
        assert!(times < 100, "{name}: {times} times the file");
    }
}

#[test]
fn a_model_has_a_bounded_number_of_messages() {
    let value = chunk(13, [chunk(1, "v"), chunk(2, "")].concat());
    let error = refused(&model(&[value.repeat((1 << 20) + 1)]));
    assert_eq!(error.kind, ErrorKind::TooLarge);
}
