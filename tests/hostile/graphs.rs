//! Graphs, attributes and functions that make no sense.

use sentinel_inference::error::ErrorKind;
use sentinel_inference::graph::text::print;

use crate::memory::peak_bytes;
use crate::wire::output;
use crate::wire::{
    call, chunk, floats, function, input, int, model, model_with, node, node_fields,
};
use crate::{check, refused, try_read};

#[test]
fn graphs_that_lead_nowhere_are_refused() {
    let x = input("x");
    let neg = node("Neg", &["x"], &["y"]);
    let y = output("y");
    let cases: &[(&str, &[&[u8]], &str)] = &[
        (
            "no outputs",
            &[&x, &neg],
            "GraphProto.output: the graph has no outputs",
        ),
        (
            "missing input",
            &[&neg, &y],
            "node 0 Neg: nothing makes \"x\"",
        ),
        (
            "missing output",
            &[&x, &neg, &output("z")],
            "output \"z\" at byte",
        ),
        (
            "output twice",
            &[&x, &neg, &y, &y],
            "two outputs have this name",
        ),
        (
            "input twice",
            &[&x, &x, &neg, &y],
            "two values have this name",
        ),
        (
            "no operator",
            &[&x, &node("", &["x"], &["y"]), &y],
            "the node has no operator",
        ),
        (
            "no node outputs",
            &[&x, &neg, &node("Neg", &["x"], &[]), &y],
            "the node has no outputs",
        ),
        (
            "node output twice",
            &[&x, &neg, &neg, &y],
            "node 1 Neg: y: two values have this name",
        ),
        (
            "output and input",
            &[&x, &input("y"), &neg, &y],
            "node 0 Neg: y: two values have this name",
        ),
        (
            "output and weight",
            &[&x, &floats("y"), &neg, &y],
            "node 0 Neg: y: two values have this name",
        ),
        (
            "weight twice",
            &[&x, &floats("w"), &floats("w"), &neg, &y],
            "two initializers have this name",
        ),
        (
            "one cycle",
            &[&x, &node("Add", &["x", "y"], &["y"]), &y],
            "Add: the node is on a cycle",
        ),
        (
            "a cycle of three",
            &[
                &x,
                &node("Add", &["x", "c"], &["a"]),
                &node("Neg", &["a"], &["b"]),
                &node("Neg", &["b"], &["c"]),
                &output("c"),
            ],
            "the node is on a cycle",
        ),
        (
            "foreign domain",
            &[&x, &chunk(1, call("F", &["x"], &["y"])), &y],
            "no version for domain \"local\"",
        ),
        (
            "no input type",
            &[&chunk(11, chunk(1, "x")), &neg, &y],
            "the input has no type",
        ),
        (
            "no input name",
            &[&input(""), &neg, &y],
            "the value has no name",
        ),
        (
            "name in Latin-1",
            &[&chunk(11, chunk(1, [0xe9])), &neg, &y],
            "the text is not UTF-8",
        ),
        (
            "sparse weight",
            &[&x, &neg, &y, &chunk(15, "")],
            "sparse initializers",
        ),
    ];
    for (name, graph, expected) in cases {
        let graph: Vec<Vec<u8>> = graph.iter().map(|field| field.to_vec()).collect();
        check(name, &model(&graph), expected);
    }
}

#[test]
fn nodes_in_any_order_are_accepted() {
    let nodes = [
        node("Neg", &["b"], &["c"]),
        node("Neg", &["a"], &["b"]),
        node("Neg", &["x"], &["a"]),
    ];
    let bytes = model(&[nodes.concat(), input("x"), output("c")]);
    let text = print(&try_read(&bytes).unwrap().graph);
    assert!(
        text.contains("a = Neg(x)\nb = Neg(a)\nc = Neg(b)\n"),
        "{text}"
    );
}

#[test]
fn attributes_that_make_no_sense_are_refused() {
    let with = |attributes: &[Vec<u8>]| {
        let attributes: Vec<u8> = attributes
            .iter()
            .flat_map(|fields| chunk(5, fields))
            .collect();
        let fields = [node_fields("Neg", &["x"], &["y"]), attributes].concat();
        model(&[chunk(1, fields), input("x"), output("y")])
    };
    let alpha = [chunk(1, "alpha"), int(3, 1), int(20, 2)].concat();
    assert!(try_read(&with(std::slice::from_ref(&alpha))).is_ok());
    for (attributes, expected) in [
        (vec![int(3, 1)], "the attribute has no name"),
        (
            vec![alpha.clone(), alpha.clone()],
            "two attributes have this name",
        ),
        (
            vec![[chunk(1, "a"), int(20, 99)].concat()],
            "attribute type 99 does not exist",
        ),
        (
            vec![[chunk(1, "a"), int(20, 4)].concat()],
            "declared to be a tensor and has none",
        ),
        (
            vec![[chunk(1, "a"), int(20, 5)].concat()],
            "declared to be a graph and has none",
        ),
        (vec![chunk(1, "a")], "the attribute has no value"),
        (
            vec![[chunk(1, "a"), chunk(21, "b"), int(20, 1)].concat()],
            "only functions can refer",
        ),
        (
            vec![[chunk(1, "a"), int(20, 11), chunk(22, "")].concat()],
            "the attribute is a sparse tensor",
        ),
    ] {
        check("attribute", &with(&attributes), expected);
    }
}

#[test]
fn functions_are_put_in_where_they_are_called() {
    // f(a, b; alpha = 2.0) = Elu(a, alpha) + b, and g(a) = f(a, a; alpha = 3.0)
    let reference = chunk(
        5,
        [chunk(1, "alpha"), chunk(21, "alpha"), int(20, 1)].concat(),
    );
    let default = |bits: f32| {
        [
            chunk(1, "alpha"),
            vec![0x15],
            bits.to_le_bytes().to_vec(),
            int(20, 1),
        ]
        .concat()
    };
    let f = function(
        "f",
        &[
            chunk(4, "a"),
            chunk(4, "b"),
            chunk(5, "r"),
            chunk(11, default(2.0)),
            chunk(7, [node_fields("Elu", &["a"], &["t"]), reference].concat()),
            chunk(7, node_fields("Add", &["t", "b"], &["r"])),
        ],
    );
    let inner = [
        call("f", &["a", "a"], &["r"]),
        chunk(5, default(3.0)),
        chunk(3, "inner"),
    ]
    .concat();
    let g = function("g", &[chunk(4, "a"), chunk(5, "r"), chunk(7, inner)]);
    let nodes = [
        chunk(
            1,
            [call("f", &["x", "w"], &["y"]), chunk(3, "outer")].concat(),
        ),
        chunk(1, call("g", &["y"], &["z"])),
    ];
    let bytes = model_with(
        &[nodes.concat(), input("x"), floats("w"), output("z")],
        &[f, g],
    );
    let text = print(&try_read(&bytes).unwrap().graph);
    assert_eq!(
        text,
        "opset 17
input x: f32[2]
const w: f32[2] = [0.0, 0.0]
outer/t = Elu(x) {alpha = 2.0}
y = Add(outer/t, w)
g/inner/t = Elu(y) {alpha = 3.0}
z = Add(g/inner/t, y)
output z: f32[2]
"
    );
}

#[test]
fn functions_without_an_end_are_refused() {
    let graph = [chunk(1, call("f", &["x"], &["y"])), input("x"), output("y")];
    let ports = [chunk(4, "a"), chunk(5, "b")].concat();
    let calls = |name: &str, callee: &str| {
        function(
            name,
            &[ports.clone(), chunk(7, call(callee, &["a"], &["b"]))],
        )
    };
    check(
        "itself",
        &model_with(&graph, &[calls("f", "f")]),
        "the function calls itself",
    );
    check(
        "each other",
        &model_with(&graph, &[calls("f", "g"), calls("g", "f")]),
        "the function calls itself",
    );
    let chain: Vec<Vec<u8>> = (0..1000)
        .map(|idx| {
            calls(
                &if idx == 0 {
                    "f".to_owned()
                } else {
                    format!("f{idx}")
                },
                &format!("f{}", idx + 1),
            )
        })
        .collect();
    check(
        "a chain",
        &model_with(&graph, &chain),
        "functions nest deeper than 64",
    );
    // Each function calls the next one twice: 2^40 nodes.
    let mut doubling: Vec<Vec<u8>> = (0..40)
        .map(|idx| {
            let name = if idx == 0 {
                "f".to_owned()
            } else {
                format!("f{idx}")
            };
            let next = format!("f{}", idx + 1);
            let first = chunk(7, call(&next, &["a"], &["t"]));
            function(
                &name,
                &[ports.clone(), first, chunk(7, call(&next, &["t"], &["b"]))],
            )
        })
        .collect();
    doubling.push(function(
        "f40",
        &[ports.clone(), chunk(7, node_fields("Neg", &["a"], &["b"]))],
    ));
    let (error, peak) = peak_bytes(|| refused(&model_with(&graph, &doubling)));
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    println!("doubling: {peak} bytes");
    // A function with a large constant, called often.
    let ints = [
        chunk(1, "value_ints"),
        chunk(8, vec![0; 1 << 20]),
        int(20, 7),
    ]
    .concat();
    let constant = [node_fields("Constant", &[], &["k"]), chunk(5, ints)].concat();
    let neg = chunk(7, node_fields("Neg", &["a"], &["b"]));
    let heavy = function("f", &[ports.clone(), chunk(7, constant), neg.clone()]);
    let names: Vec<String> = (0..1000).map(|idx| format!("y{idx}")).collect();
    let calls: Vec<u8> = names
        .iter()
        .flat_map(|name| chunk(1, call("f", &["x"], &[name])))
        .collect();
    let (error, peak) =
        peak_bytes(|| refused(&model_with(&[calls, input("x"), output("y7")], &[heavy])));
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    assert!(peak < 1 << 30, "{peak} bytes");
    let twice = function("f", &[ports.clone(), neg.clone()]);
    check(
        "two of one name",
        &model_with(&graph, &[twice.clone(), twice]),
        "two functions have this name",
    );
    let no_output = function("f", &[chunk(4, "a"), neg]);
    check(
        "too many outputs",
        &model_with(&graph, &[no_output]),
        "1 inputs and 1 outputs for a function with 1 and 0",
    );
}

#[test]
fn initializers_of_inputs_are_constants_before_ir_version_4_and_defaults_after() {
    let graph = [
        input("x"),
        input("w"),
        floats("w"),
        node("Add", &["x", "w"], &["y"]),
        output("y"),
    ];
    let with_version = |version| {
        let rest = [chunk(7, graph.concat()), chunk(8, int(2, 17))].concat();
        print(&try_read(&[int(1, version), rest].concat()).unwrap().graph)
    };
    let old = with_version(3);
    assert!(old.contains("const w: f32[2] = [0.0, 0.0]"), "{old}");
    assert!(!old.contains("input w"), "{old}");
    let new = with_version(4);
    assert!(new.contains("input w: f32[2] = [0.0, 0.0]"), "{new}");
}

#[test]
fn a_body_may_not_hide_a_name_that_it_also_captures() {
    // The function's body reads `a`, which is `p` outside, and makes a value that is named `f/p`.
    let body = [
        node("Add", &["a", "p"], &["r"]),
        node("Neg", &["a"], &["p"]),
        output("r"),
    ];
    let attribute = [chunk(1, "body"), chunk(6, body.concat()), int(20, 5)].concat();
    let loops = [node_fields("Loop", &["a"], &["b"]), chunk(5, attribute)].concat();
    let f = function("f", &[chunk(4, "a"), chunk(5, "b"), chunk(7, loops)]);
    let with_input = |name: &str| {
        let graph = [
            chunk(1, call("f", &[name], &["y"])),
            input(name),
            output("y"),
        ];
        model_with(&graph, std::slice::from_ref(&f))
    };
    let text = print(&try_read(&with_input("p")).unwrap().graph);
    assert!(text.contains("f/p = Neg(p)\n"), "{text}");
    assert!(text.contains("f/r = Add(p, f/p)\n"), "{text}");
    let expected = "a graph inside defines the same name as the graph around it";
    check("hidden", &with_input("f/p"), expected);
}
