//! The ONNX backend suite through native sessions. `tests/conformance/native.tsv` keeps what
//! passes: a pass that is lost fails, and so does a wrong or crashed case.
//!
//! `SENTINEL_UPDATE=1 cargo test --test conformance` writes the table again.

mod suite;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sentinel_inference::error::{Error, ErrorKind};
use sentinel_inference::model::onnx::{MapExternal, read};
use sentinel_inference::session::{Options, Provider, Session};
use sentinel_inference::tensor::Tensor;
use suite::Case;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Pass,
    Unsupported(String),
    Wrong(String),
    Crashed(String),
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Unsupported(_) => "unsupported",
            Outcome::Wrong(_) => "wrong",
            Outcome::Crashed(_) => "crashed",
        }
    }

    fn why(&self) -> &str {
        match self {
            Outcome::Pass => "",
            Outcome::Unsupported(why) | Outcome::Wrong(why) | Outcome::Crashed(why) => why,
        }
    }
}

fn run_on_cpu(case: &Case) -> Outcome {
    match std::panic::catch_unwind(|| outputs_on_cpu(case)) {
        Err(_) => Outcome::Crashed("panic".into()),
        Ok(Err(error)) => refused(error),
        Ok(Ok(outputs)) => judge(case, &outputs),
    }
}

fn refused(error: Error) -> Outcome {
    match error.kind {
        ErrorKind::ModelUnsupported => Outcome::Unsupported(error.to_string()),
        // Values beyond what a backend carries are refused one by one.
        ErrorKind::InvalidInput if error.why.contains("does not fit") => {
            Outcome::Unsupported(error.to_string())
        }
        ErrorKind::Internal => Outcome::Crashed(error.to_string()),
        kind => Outcome::Wrong(format!("{}: {error}", kind.code())),
    }
}

fn outputs_on_cpu(case: &Case) -> Result<Vec<Tensor>, Error> {
    let model = read(case.model.clone(), &MapExternal::default())?;
    let options = Options {
        providers: Some(vec![Provider::Cpu]),
        ..Options::default()
    };
    let session = Session::create(model.graph, &options)?;
    let tensors = case.inputs.iter().map(suite::tensor);
    let Some(tensors) = tensors.collect::<Option<Vec<Tensor>>>() else {
        return Err(Error::unsupported("", "an input is no tensor"));
    };
    let names = session.inputs().iter().map(|port| port.name.clone());
    let feeds = names.zip(tensors).collect();
    let fetches: Vec<&str> = session.outputs().iter().map(|port| port.name.as_str()).collect();
    session.run(feeds, &fetches)
}

fn judge(case: &Case, outputs: &[Tensor]) -> Outcome {
    for (idx, (got, want)) in outputs.iter().zip(&case.outputs).enumerate() {
        let Some(want) = suite::tensor(want) else {
            return Outcome::Wrong(format!("output {idx} should be no tensor"));
        };
        if let Some(difference) = suite::difference(got, &want, case.rtol, case.atol) {
            return Outcome::Wrong(format!("output {idx}: {difference}"));
        }
    }
    Outcome::Pass
}

#[test]
fn no_pass_is_lost_and_nothing_is_wrong() {
    let cases = suite::cases();
    let mut table = String::from("case\tcpu\n");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut bad = Vec::new();
    let mut passes = Vec::new();
    let mut report = String::new();
    for case in &cases {
        let outcome = run_on_cpu(case);
        *counts.entry(outcome.name()).or_default() += 1;
        writeln!(table, "{}\t{}", case.name, outcome.name()).expect("strings grow");
        writeln!(report, "{}\t{}\t{}", case.name, outcome.name(), outcome.why()).expect("strings grow");
        match outcome {
            Outcome::Pass => passes.push(case.name.as_str()),
            Outcome::Unsupported(_) => {}
            outcome => bad.push(format!("{}: {outcome:?}", case.name)),
        }
    }
    println!("{} cases on cpu: {counts:?}", cases.len());
    if let Some(path) = std::env::var_os("SENTINEL_REPORT") {
        std::fs::write(path, report).expect("the report's folder exists");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/native.tsv");
    if std::env::var_os("SENTINEL_UPDATE").is_some() {
        std::fs::write(&path, &table).expect("the table's folder exists");
    }
    let kept = std::fs::read_to_string(&path).expect("the table is part of the repository");
    let kept = kept.lines().filter_map(|line| line.strip_suffix("\tpass"));
    let lost: Vec<&str> = kept.filter(|name| !passes.contains(name)).collect();
    assert!(lost.is_empty(), "lost passes: {lost:#?}");
    assert!(bad.is_empty(), "wrong or crashed: {bad:#?}");
}
