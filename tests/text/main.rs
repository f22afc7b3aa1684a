//! The text form and the ONNX writer lose nothing: graphs come back the same from either, and the
//! text form's errors name line and column.

mod grow;
#[path = "../random/mod.rs"]
mod random;
#[expect(dead_code, reason = "only the models of the suite are needed here")]
#[path = "../suite/mod.rs"]
mod suite;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use grow::graph_from;
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use random::Random;
use sentinel_inference::error::ErrorKind;
use sentinel_inference::graph::text::{parse, print, print_short};
use sentinel_inference::graph::{Graph, Node, Source, verify};
use sentinel_inference::model::onnx::{FolderExternal, MapExternal, WriteOptions, read, write};
use sentinel_inference::ops::OpName;
use sentinel_inference::tensor::{DType, Fact, Shape, Tensor};

/// What is lost on the way through the text form or through an ONNX file.
fn loss(graph: &Graph) -> Option<String> {
    let text = print(graph);
    let parsed = match parse(&text) {
        Ok(parsed) => print(&parsed),
        Err(error) => return Some(format!("the text is refused: {error}\n{text}")),
    };
    if let Some(difference) = difference(&text, &parsed) {
        return Some(format!("text form: {difference}"));
    }
    for external in [false, true] {
        let options = WriteOptions {
            external,
            ..WriteOptions::default()
        };
        let written = match write(graph, &options) {
            Ok(written) => written,
            Err(error) => return Some(format!("the graph is not written: {error}")),
        };
        let files = MapExternal(written.external.into_iter().collect());
        let again = match read(written.model.into(), &files) {
            Ok(model) => print(&model.graph),
            Err(error) => return Some(format!("the written model is refused: {error}\n{text}")),
        };
        if let Some(difference) = difference(&text, &again) {
            return Some(format!("ONNX, external {external}: {difference}"));
        }
    }
    None
}

fn difference(before: &str, after: &str) -> Option<String> {
    if before == after {
        return None;
    }
    let lines = before.lines().zip(after.lines());
    let differing = lines.clone().find(|(before, after)| before != after);
    let (before, after) = differing.unwrap_or(("(one is longer)", ""));
    Some(format!("{before}\nbecame\n{after}"))
}

#[test]
fn every_conformance_model_survives_text_and_onnx() {
    let mut losses = Vec::new();
    let cases = suite::cases();
    for case in &cases {
        match read(case.model.clone(), &MapExternal::default()) {
            Ok(model) => losses.extend(loss(&model.graph).map(|loss| (&case.name, loss))),
            Err(error) => losses.push((&case.name, format!("not read: {error}"))),
        }
    }
    println!("{} conformance models", cases.len());
    assert!(cases.len() > 1900);
    assert!(
        losses.is_empty(),
        "{} of {}: {losses:#?}",
        losses.len(),
        cases.len()
    );
}

/// The ONNX files of the folders that are here, each name once.
fn model_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "tests/fixtures/digits",
        "tests/fixtures/models",
        "target/models",
        "../shared/models/onnx",
        "../shared/models/torch",
    ];
    let mut files = BTreeMap::new();
    let mut absent = 0;
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
            absent += 1;
            continue;
        };
        for entry in entries {
            let entry = entry.expect("the folder is read");
            if entry.path().extension().is_some_and(|end| end == "onnx") {
                files.entry(entry.file_name()).or_insert(entry.path());
            }
        }
    }
    if absent > 0 {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {absent} model folders that are not here"
        );
    }
    files.into_values().collect()
}

#[test]
fn every_real_model_survives_text_and_onnx() {
    for path in model_files() {
        let bytes = std::fs::read(&path).unwrap();
        let model = read(bytes.into(), &FolderExternal::beside(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Some(loss) = loss(&model.graph) {
            panic!("{}: {loss}", path.display());
        }
    }
}

#[test]
fn weights_are_not_copied_on_the_way_in_and_out() {
    let mut graph = Graph::with_opset(21);
    let x = graph
        .add_input("x", Fact::tensor(DType::F32, Shape::known(&[4096])))
        .unwrap();
    let w = graph
        .add_constant("w", Tensor::vector(&[1.5_f32; 4096]))
        .unwrap();
    let y = graph
        .add_value("y", Fact::default(), Source::Nothing)
        .unwrap();
    let add = Node::new(OpName::onnx("Add"), vec![Some(x), Some(w)], vec![Some(y)]);
    graph.add_node(add).unwrap();
    graph.outputs.push(y);
    let weights = graph.constant(w).unwrap().bytes().as_ptr();
    let options = WriteOptions {
        external: true,
        ..WriteOptions::default()
    };
    let written = write(&graph, &options).unwrap();
    assert_eq!(written.external.len(), 1);
    assert_eq!(written.external[0].1.as_ptr(), weights);
    assert!(written.model.len() < 300);

    let file = Bytes::from(write(&graph, &WriteOptions::default()).unwrap().model);
    let model = read(file.clone(), &MapExternal::default()).unwrap();
    let read_weights = model
        .graph
        .constant(model.graph.find("w").unwrap())
        .unwrap()
        .bytes();
    assert!(file.as_ptr_range().contains(&read_weights.as_ptr()));
}

#[test]
fn writing_is_deterministic() {
    let graph = graph_from(7, true);
    let models: Vec<Vec<u8>> = (0..3)
        .map(|_| write(&graph, &WriteOptions::default()).unwrap().model)
        .collect();
    assert_eq!(models[0], models[1]);
    assert_eq!(models[1], models[2]);
}

#[test]
fn ir_versions_are_written_as_asked() {
    let graph = parse("input x: f32[2]\n y = Relu(x)\n output y: f32[2]").unwrap();
    for ir_version in [4, 8, 14] {
        let options = WriteOptions {
            ir_version,
            ..WriteOptions::default()
        };
        let model = write(&graph, &options).unwrap().model;
        let model = read(model.into(), &MapExternal::default()).unwrap();
        assert_eq!(model.meta.ir_version, ir_version);
    }
    let options = WriteOptions {
        ir_version: 3,
        ..WriteOptions::default()
    };
    assert_eq!(
        write(&graph, &options).unwrap_err().kind,
        ErrorKind::ModelParse
    );
}

#[test]
fn statements_of_every_kind_are_read() {
    let text = "
        # a comment
        opset 17
        opset com.microsoft 1
        input x: f32[1, batch, (n * 2), ?]   # another
        input \"odd name:0\": seq(f32[2])
        input k: i64[] = [3]
        const w: i64[2] = [
            1,
            -2,
        ]
        value t: f32[1, 4]
        y, _, z: i64 = com.microsoft::Op(x, _, \"odd name:0\") {
            axis = 1, alpha = 0.5, name = \"te\\nxt\", pads = [1, 2], scales = [1.0, -inf],
            modes = [\"a\", \"b\"], value = f32[2] [1.0, nan], type = opt(seq(f16[2])), none = floats [],
        } @node/name
        t = Relu(w)
        input = Neg(t)
        c = If(k) then_branch {
            a = Add(input, t)
            output a
        } else_branch {
            input2 = Loop(k) body { # captures through two graphs
                b = Sub(t, t)
                output b
            }
            output input2
        } @last
        output y: f32[4]
        output c
    ";
    // A list may not end with a comma.
    assert_eq!(parse(text).unwrap_err().at, "line 11:9");
    let text = text
        .replace("-2,\n", "-2\n")
        .replace("floats [],", "floats []");
    let graph = parse(&text).unwrap();
    let printed = print(&graph);
    assert_eq!(
        printed,
        "opset 17
opset com.microsoft 1
input x: f32[1, batch, (n * 2), ?]
input \"odd name:0\": seq(f32[2])
input k: i64[] = [3]
const w: i64[2] = [1, -2]
y, _, z: i64 = com.microsoft::Op(x, _, \"odd name:0\") {alpha = 0.5, axis = 1, modes = [\"a\", \"b\"], \
name = \"te\\nxt\", none = floats [], pads = [1, 2], scales = [1.0, -inf], type = opt(seq(f16[2])), \
value = f32[2] [1.0, nan]} @node/name
t: f32[1, 4] = Relu(w)
input = Neg(t)
c = If(k) @last else_branch {
  input2 = Loop(k) body {
    b = Sub(t, t)
    output b
  }
  output input2
} then_branch {
  a = Add(input, t)
  output a
}
output y: f32[4]
output c
"
    );
    assert_eq!(print(&parse(&printed).unwrap()), printed);
}

#[test]
fn versions_have_defaults() {
    let graph = parse("input x: f32[2]\n y = my.domain::Op(x)\n z = Neg(y)\n output z").unwrap();
    assert_eq!(graph.opset(""), 21);
    assert_eq!(graph.opset("my.domain"), 1);
}

#[test]
fn large_constants_are_left_out_for_people() {
    let mut graph = Graph::with_opset(21);
    let small = graph
        .add_constant("small", Tensor::vector(&[1_i64, 2]))
        .unwrap();
    let large = graph
        .add_constant("large", Tensor::vector(&[0_u8; 1000]))
        .unwrap();
    graph.outputs.extend([small, large]);
    let text = print_short(&graph);
    assert!(
        text.contains("const small: i64[2] = [1, 2]\nconst large: u8[1000] = ...\n"),
        "{text}"
    );
    let error = parse(&text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 3:25: the elements have been left out"
    );
}

#[test]
fn errors_name_line_and_column() {
    for (text, error) in [
        ("input x f32", "line 1:9: \":\" is expected, 'f' is found"),
        ("input x: f33[2]", "line 1:13: f33 is no type"),
        ("input x: f32[-2]", "line 1:16: a size cannot be -2"),
        (
            "input x: f32[n-1]",
            "line 1:15: \",\" is expected, '-' is found",
        ),
        (
            "input x: f32[2",
            "line 1:15: \",\" is expected and the text ends",
        ),
        (
            "input x: f32[(a % b)]",
            "line 1:17: one of + - * / is expected",
        ),
        (
            "const x: f32[n] = [1.0]",
            "line 1:19: elements need a type and a shape of numbers",
        ),
        (
            "const x: f32[2] = [1.0]",
            "line 1:24: 4 bytes cannot be f32[2]",
        ),
        ("const x: u8[1] = [256]", "line 1:22: 256 is no u8"),
        (
            "const x: i4[2] = [1, 2]",
            "line 1:18: elements of i4 are written as hex: 0x..",
        ),
        (
            "const x: u8[1] = 0x0",
            "line 1:21: hex has two digits for each byte",
        ),
        (
            "input x: seq(seq(f32))",
            "line 1:14: types nest no deeper than an optional sequence",
        ),
        (
            "\n\ny = Relu(x",
            "line 3:11: \",\" is expected and the text ends",
        ),
        (
            "y = Relu(x) {a = [1, 2.0]}",
            "line 1:26: the items of a list have one type: 1 or 1.0 or \"a\"",
        ),
        (
            "y = Relu(x) {a = 1, a = 2}",
            "line 1:27: attribute a is given twice",
        ),
        (
            "y = Relu(x) {a = 99999999999999999999}",
            "line 1:38: 99999999999999999999 is no number",
        ),
        (
            "y = \"Relu",
            "line 1:10: a closing quote is expected and the text ends",
        ),
        ("y = \"\\q\"", "line 1:8: there is no escape \\q"),
        (
            "input x: f32\ninput x: f32",
            "line 2:13: \"x\" has been defined",
        ),
        (
            "input x: f32\nx = Neg(x)",
            "line 2:11: Neg: output x has more than one source",
        ),
        (
            "input x: f32\noutput x: f16",
            "line 2:14: \"x\" is declared in two ways",
        ),
        ("opset 0", "line 1:8: 0 is no version"),
        (
            "opset 1\nopset ai.onnx 2",
            "line 2:16: the domain has a version already",
        ),
        ("}", "line 1:1: a body ends that has not begun"),
        (
            "y = If(c) b { opset 3 }",
            "line 1:21: a body has the versions of the graph around it",
        ),
        (
            "input x: f32 y",
            "line 1:14: the statement should end before \"y\"",
        ),
        ("y = Relu(x)\noutput y", "Relu: nothing makes \"x\""),
        (
            "input x: f32\noutput z",
            "graph output: nothing makes \"z\"",
        ),
        (
            "y = Relu(z)\nz = Relu(y)\noutput y",
            "Relu: the node is on a cycle",
        ),
        (
            "input c: bool\ny = If(c) t {\n z = Neg(q)\n output z\n}\noutput y",
            "If: t: \"q\": the graph around has no such value",
        ),
    ] {
        let found = parse(text).map(|graph| print(&graph)).unwrap_err();
        assert_eq!(found.kind, ErrorKind::ModelParse);
        assert_eq!(found.to_string(), error, "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    for (open, end) in [
        ("input x: f32[", ""),
        ("", "y = If(c) b {\n"),
        ("input x: ", ""),
    ] {
        let nest = if end.is_empty() && open.ends_with('[') {
            "("
        } else {
            "opt("
        };
        let nest = if end.is_empty() { nest } else { end };
        let text = format!("{open}{}", nest.repeat(100_000));
        assert_eq!(parse(&text).unwrap_err().kind, ErrorKind::ModelParse);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_graph_survives_its_text_form(seed in any::<u64>()) {
        let graph = graph_from(seed, false);
        verify(&graph).unwrap_or_else(|error| panic!("the generator, seed {seed}: {error}"));
        let text = print(&graph);
        let parsed = parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        prop_assert_eq!(difference(&text, &print(&parsed)), None, "seed {}", seed);
    }

    #[test]
    fn any_graph_survives_onnx(seed in any::<u64>()) {
        prop_assert_eq!(loss(&graph_from(seed, true)), None, "seed {}", seed);
    }

    #[test]
    fn no_text_panics(seed in any::<u64>()) {
        let mut random = Random(seed);
        let mut text = print(&graph_from(seed, false)).into_bytes();
        for _ in 0..1 + random.below(4) {
            let at = random.below(text.len());
            match random.below(3) {
                0 => text[at] = random.pick(b"(){}[],:=\"#0x.-\n _?a"),
                1 => text.truncate(at.max(1)),
                // The next change needs a byte to change.
                _ if text.len() > 1 => { text.remove(at); }
                _ => {}
            }
        }
        if let Err(error) = parse(&String::from_utf8_lossy(&text)) {
            prop_assert_eq!(error.kind, ErrorKind::ModelParse, "seed {}", seed);
        }
    }
}
