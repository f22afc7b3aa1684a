use std::io::Write as _;
use wonnx::onnx::{AttributeProto, NodeProto, TensorProto_DataType as Type};
use wonnx::utils::{attribute, graph, initializer, initializer_int64, model, node, tensor_of_type};

use super::*;

/// The bytes of a model of nodes, from typed inputs to typed outputs.
struct Model {
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    values: Vec<ValueInfoProto>,
    constants: Vec<wonnx::onnx::TensorProto>,
    nodes: Vec<NodeProto>,
}

impl Model {
    fn new(inputs: &[(&str, &[i64], Type)], outputs: &[(&str, &[i64], Type)]) -> Model {
        let infos = |list: &[(&str, &[i64], Type)]| {
            list.iter()
                .map(|(name, dims, ty)| tensor_of_type(name, dims, *ty))
                .collect()
        };
        Model {
            inputs: infos(inputs),
            outputs: infos(outputs),
            values: vec![],
            constants: vec![],
            nodes: vec![],
        }
    }

    fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attrs: Vec<AttributeProto>,
    ) -> Model {
        self.nodes
            .push(node(inputs.to_vec(), vec![output], output, op, attrs));
        self
    }

    fn bytes(self) -> Vec<u8> {
        let graph = graph(
            self.inputs,
            self.outputs,
            self.values,
            self.constants,
            self.nodes,
        );
        model(graph).write_to_bytes().expect("every field is set")
    }
}

/// A session, or `None` with a line on stderr when this machine has no adapter.
fn session(model: Model) -> Option<Result<WonnxSession>> {
    if let Err(failure) = block_on(compat::open(&AdapterChoice::from_env())) {
        // Not through a macro, whose text is kept back when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED (1 test): no adapter: {failure}");
        return None;
    }
    Some(block_on(WonnxSession::create(&model.bytes())))
}

fn run(session: &WonnxSession, feeds: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
    let feeds = feeds
        .iter()
        .map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
    block_on(session.run(feeds.collect()))
}

fn relu() -> Model {
    Model::new(&[("x", &[3], Type::FLOAT)], &[("y", &[3], Type::FLOAT)]).node(
        "Relu",
        &["x"],
        "y",
        vec![],
    )
}

fn gather() -> Model {
    let inputs: [(&str, &[i64], Type); 2] = [("x", &[3, 1], Type::INT64), ("i", &[2], Type::INT64)];
    Model::new(&inputs, &[("y", &[2, 1], Type::INT64)]).node("Gather", &["x", "i"], "y", vec![])
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("an error").kind
}

#[test]
fn a_model_is_computed() {
    let Some(session) = session(relu()) else {
        return;
    };
    let session = session.unwrap();
    for x in [-1.0_f32, 2.0] {
        let outputs = run(&session, &[("x", Tensor::vector(&[x, 0.5, -3.0]))]).unwrap();
        let expected = Tensor::vector(&[x.max(0.0), 0.5, 0.0]);
        assert_eq!(outputs, [("y".to_owned(), expected)]);
    }
}

#[test]
fn wrong_feeds_are_named_and_the_session_goes_on() {
    let Some(session) = session(relu()) else {
        return;
    };
    let session = session.unwrap();
    let good = Tensor::vector(&[1.0_f32, 2.0, 3.0]);
    assert_eq!(kind(run(&session, &[])), ErrorKind::InvalidInput);
    let unknown = run(&session, &[("x", good.clone()), ("z", good.clone())]);
    assert_eq!(unknown.unwrap_err().at, "z");
    let shape = run(&session, &[("x", Tensor::vector(&[1.0_f32]))]).unwrap_err();
    assert_eq!(
        (shape.kind, shape.at.as_str()),
        (ErrorKind::ShapeMismatch, "x")
    );
    let dtype = run(&session, &[("x", Tensor::vector(&[1_i32, 2, 3]))]).unwrap_err();
    assert_eq!(dtype.to_string(), "x: expected f32, given i32");
    assert!(run(&session, &[("x", good)]).is_ok());
}

#[test]
fn wide_integers_pass_when_they_fit() {
    let Some(session) = session(gather()) else {
        return;
    };
    let session = session.unwrap();
    let i = Tensor::vector(&[-1_i64, 0]);
    let x = Tensor::from_vec(&[3, 1], vec![i64::from(i32::MIN), 0, i64::from(i32::MAX)]).unwrap();
    let outputs = run(&session, &[("x", x), ("i", i.clone())]).unwrap();
    let limits = vec![i64::from(i32::MAX), i64::from(i32::MIN)];
    assert_eq!(outputs[0].1, Tensor::from_vec(&[2, 1], limits).unwrap());

    let x = Tensor::from_vec(&[3, 1], vec![0_i64, 1 << 31, 0]).unwrap();
    let error = run(&session, &[("x", x), ("i", i)]).unwrap_err();
    assert_eq!(
        (error.kind, error.at.as_str()),
        (ErrorKind::DtypeMismatch, "x")
    );
    assert!(error.why.contains("2147483648 at element 1"), "{error}");
}

#[test]
fn a_shader_that_the_gpu_refuses_is_an_error() {
    let clip = relu().node("Clip", &["y"], "z", vec![]);
    let clip = Model {
        values: vec![tensor_of_type("z", &[3], Type::FLOAT)],
        outputs: vec![tensor_of_type("z", &[3], Type::FLOAT)],
        ..clip
    };
    let clip = Model {
        values: vec![tensor_of_type("y", &[3], Type::FLOAT)],
        ..clip
    };
    let Some(refused) = session(clip) else { return };
    assert_eq!(kind(refused), ErrorKind::Internal);
    assert!(session(relu()).unwrap().is_ok());
}

#[test]
fn a_panic_of_wonnx_is_an_error() {
    let unsqueeze = Model {
        constants: vec![initializer_int64("axes", vec![0], vec![1])],
        ..Model::new(&[("x", &[3], Type::FLOAT)], &[("y", &[1, 3], Type::FLOAT)])
    };
    let Some(refused) = session(unsqueeze.node("Unsqueeze", &["x", "axes"], "y", vec![])) else {
        return;
    };
    let error = refused.err().unwrap();
    assert!(error.why.starts_with("wonnx panicked"), "{error}");
}

#[test]
fn what_wonnx_does_not_know_is_unsupported() {
    let odd = Model::new(&[("x", &[3], Type::FLOAT)], &[("y", &[3], Type::FLOAT)]);
    let Some(refused) = session(odd.node("Erf", &["x"], "y", vec![])) else {
        return;
    };
    assert_eq!(kind(refused), ErrorKind::ModelUnsupported);
    let bools = Model::new(&[("x", &[3], Type::BOOL)], &[("y", &[3], Type::BOOL)]);
    let bools = session(bools.node("Identity", &["x"], "y", vec![])).unwrap();
    assert_eq!(kind(bools), ErrorKind::ModelUnsupported);
    assert_eq!(
        kind(block_on(WonnxSession::create(b"no model"))),
        ErrorKind::ModelParse
    );
}

#[test]
fn a_model_larger_than_the_gpu_is_out_of_memory() {
    let dims: &[i64] = &[1 << 20, 1 << 14];
    let vast = Model::new(&[("x", dims, Type::FLOAT)], &[("y", dims, Type::FLOAT)]);
    let Some(refused) = session(vast.node("Relu", &["x"], "y", vec![])) else {
        return;
    };
    assert_eq!(kind(refused), ErrorKind::OutOfMemory);
}

/// `count` nodes one behind the other, none of which wonnx can fuse.
fn chain(count: usize) -> Model {
    let last = format!("v{}", count - 1);
    let mut chain = Model::new(&[("x", &[4], Type::FLOAT)], &[(&last, &[4], Type::FLOAT)]);
    let mut before = "x".to_owned();
    for idx in 0..count {
        let name = format!("v{idx}");
        chain = chain.node("Sub", &[&before, "x"], &name, vec![]);
        if name != last {
            chain.values.push(tensor_of_type(&name, &[4], Type::FLOAT));
        }
        before = name;
    }
    chain
}

#[test]
fn a_long_chain_is_computed_and_a_longer_one_refused() {
    let Some(session_of_many) = session(chain(1000)) else {
        return;
    };
    let x = Tensor::vector(&[1.0_f32, 0.0, -2.0, 0.5]);
    let outputs = run(&session_of_many.unwrap(), &[("x", x)]).unwrap();
    assert_eq!(
        outputs[0].1,
        Tensor::vector(&[-999.0_f32, 0.0, 1998.0, -499.5])
    );
    assert_eq!(
        kind(session(chain(MAX_DEPTH + 1)).unwrap()),
        ErrorKind::ModelUnsupported
    );
}

#[test]
fn runs_at_the_same_time_do_not_mix() {
    let kernel = Model {
        constants: vec![initializer("w", vec![1.0, 2.0, 3.0, 4.0], vec![2, 2])],
        ..Model::new(
            &[("x", &[2, 2], Type::FLOAT)],
            &[("y", &[2, 2], Type::FLOAT), ("z", &[2, 2], Type::FLOAT)],
        )
    };
    let model = kernel.node("MatMul", &["x", "w"], "y", vec![]).node(
        "LeakyRelu",
        &["x"],
        "z",
        vec![attribute("alpha", 0.5_f32)],
    );
    let Some(session) = session(model) else {
        return;
    };
    let session = session.unwrap();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let session = &session;
            scope.spawn(move || {
                let n = n as f32 - 2.0;
                let x = Tensor::from_vec(&[2, 2], vec![n, 0.0, 0.0, n]).unwrap();
                for _ in 0..10 {
                    let outputs = run(session, &[("x", x.clone())]).unwrap();
                    assert_eq!(
                        outputs[0].1.elements::<f32>().unwrap()[..],
                        [n, 2.0 * n, 3.0 * n, 4.0 * n]
                    );
                    let leaky = n.max(0.5 * n);
                    assert_eq!(
                        outputs[1].1.elements::<f32>().unwrap()[..],
                        [leaky, 0.0, 0.0, leaky]
                    );
                }
            });
        }
    });
}
