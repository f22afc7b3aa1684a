//! The ONNX backend suite through native sessions. `tests/conformance/native.tsv` keeps what
//! passes: a pass that is lost fails, and so does a wrong or crashed case.
//!
//! `SENTINEL_UPDATE=1 cargo test --test conformance` writes the table again.

mod difference;
mod native;
mod suite;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use difference::difference;
use half::f16;
use sentinel_inference::backend::webgpu::Gpu;
use sentinel_inference::backend::webgpu::native::NativeDevice;
use sentinel_inference::error::{Error, ErrorKind};
use sentinel_inference::model::onnx::{MapExternal, read};
use sentinel_inference::session::Provider;
use sentinel_inference::tensor::Tensor;
use suite::Case;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Pass,
    /// Right, with a part on the CPU.
    Part(String),
    Unsupported(String),
    /// Halves that are within [`MAX_HALF_STEPS`] of the reference and not within its tolerance.
    Rounded(String),
    Wrong(String),
    Crashed(String),
}

/// References in half precision are themselves sums of rounded steps. Two steps away from one is no
/// pass, and no error either.
const MAX_HALF_STEPS: u16 = 2;

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Part(_) => "part",
            Outcome::Unsupported(_) => "unsupported",
            Outcome::Rounded(_) => "rounded",
            Outcome::Wrong(_) => "wrong",
            Outcome::Crashed(_) => "crashed",
        }
    }

    fn why(&self) -> &str {
        match self {
            Outcome::Pass => "",
            Outcome::Part(why)
            | Outcome::Unsupported(why)
            | Outcome::Rounded(why)
            | Outcome::Wrong(why)
            | Outcome::Crashed(why) => why,
        }
    }
}

const PROVIDERS: [Provider; 3] = [Provider::Cpu, Provider::Wonnx, Provider::Webgpu];

type Device = Rc<Gpu<NativeDevice>>;

fn outcome(case: &Case, provider: Provider, gpu: Option<&Device>) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| outputs(case, provider, gpu))) {
        Err(_) => Outcome::Crashed("panic".into()),
        Ok(Err(error)) => refused(error),
        Ok(Ok((outputs, on_cpu))) => match judge(case, &outputs) {
            Outcome::Pass if !on_cpu.is_empty() => Outcome::Part(on_cpu),
            outcome => outcome,
        },
    }
}

/// The outputs, and which part of the model the CPU computed for the GPU, and why.
fn outputs(
    case: &Case,
    provider: Provider,
    gpu: Option<&Device>,
) -> Result<(Vec<Tensor>, String), Error> {
    let model = read(case.model.clone(), &MapExternal::default())?;
    let tensors = case.inputs.iter().map(suite::tensor);
    let Some(tensors) = tensors.collect::<Option<Vec<Tensor>>>() else {
        return Err(Error::unsupported("", "an input is no tensor"));
    };
    let Some(gpu) = gpu else {
        return Ok((native::run(model.graph, tensors, provider)?, String::new()));
    };
    let (outputs, placement) = native::run_on_webgpu(gpu, model.graph, tensors)?;
    let on_cpu = placement.iter().filter(|row| row.provider == Provider::Cpu);
    let on_cpu: Vec<String> = on_cpu
        .map(|row| format!("{}: {}", row.op, row.reason))
        .collect();
    Ok((outputs, on_cpu.join("; ")))
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

fn judge(case: &Case, outputs: &[Tensor]) -> Outcome {
    for (idx, (got, want)) in outputs.iter().zip(&case.outputs).enumerate() {
        let Some(want) = suite::tensor(want) else {
            return Outcome::Wrong(format!("output {idx} should be no tensor"));
        };
        if let Some(difference) = difference(got, &want, case.rtol, case.atol) {
            if half_steps(got, &want).is_some_and(|steps| steps <= MAX_HALF_STEPS) {
                return Outcome::Rounded(format!("output {idx}: {difference}"));
            }
            return Outcome::Wrong(format!("output {idx}: {difference}"));
        }
    }
    Outcome::Pass
}

/// The most halves that lie between two elements; `None` for other types and across zero.
fn half_steps(got: &Tensor, want: &Tensor) -> Option<u16> {
    let (got, want) = (got.elements::<f16>()?, want.elements::<f16>()?);
    let steps = got.iter().zip(want.iter()).map(|(got, want)| {
        let same_sign = got.is_sign_negative() == want.is_sign_negative();
        (same_sign || got == want).then(|| got.to_bits().abs_diff(want.to_bits()))
    });
    let steps = steps.collect::<Option<Vec<u16>>>()?;
    steps.into_iter().max()
}

/// Outcomes by case and provider as the repository keeps them.
fn kept(path: &Path) -> BTreeMap<String, Vec<String>> {
    let table = std::fs::read_to_string(path).unwrap_or_default();
    let rows = table.lines().skip(1).map(|line| {
        let mut cells = line.split('\t').map(str::to_owned);
        (cells.next().unwrap_or_default(), cells.collect())
    });
    rows.collect()
}

#[test]
fn no_pass_is_lost_and_nothing_is_wrong() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/native.tsv");
    let (cases, kept) = (suite::cases(), kept(&path));
    let mut rows: Vec<Vec<&str>> = cases.iter().map(|case| vec![case.name.as_str()]).collect();
    let (mut bad, mut report) = (Vec::new(), String::new());
    for (column, provider) in PROVIDERS.into_iter().enumerate() {
        let before = |case: &Case| kept.get(&case.name).and_then(|row| row.get(column));
        if provider != Provider::Cpu
            && let Some(why) = native::no_adapter()
        {
            native::say_skipped(&format!(
                "{} cases on {}: {why}",
                cases.len(),
                provider.name()
            ));
            for (row, case) in rows.iter_mut().zip(&cases) {
                row.push(before(case).map_or("unsupported", String::as_str));
            }
            continue;
        }
        let gpu = (provider == Provider::Webgpu).then(|| native::open(false));
        let gpu = gpu.transpose().expect("there is an adapter");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (row, case) in rows.iter_mut().zip(&cases) {
            let outcome = outcome(case, provider, gpu.as_ref());
            let (name, why) = (outcome.name(), outcome.why());
            row.push(name);
            *counts.entry(name).or_default() += 1;
            let provider = provider.name();
            writeln!(report, "{}\t{provider}\t{name}\t{why}", case.name).expect("strings grow");
            let lost = match before(case).map(String::as_str) {
                Some("pass") => outcome != Outcome::Pass,
                Some("part") => !matches!(outcome, Outcome::Pass | Outcome::Part(_)),
                _ => false,
            };
            if lost || matches!(outcome, Outcome::Wrong(_) | Outcome::Crashed(_)) {
                bad.push(format!("{} on {provider}: {name}: {why}", case.name));
            }
        }
        println!("{} cases on {}: {counts:?}", cases.len(), provider.name());
    }
    if let Some(path) = std::env::var_os("SENTINEL_REPORT") {
        std::fs::write(path, report).expect("the report's folder exists");
    }
    if std::env::var_os("SENTINEL_UPDATE").is_some() {
        let head = String::from("case\tcpu\twonnx\twebgpu\n");
        let table = rows
            .iter()
            .fold(head, |table, row| table + &row.join("\t") + "\n");
        std::fs::write(&path, table).expect("the table's folder exists");
    }
    assert!(bad.is_empty(), "lost, wrong or crashed: {bad:#?}");
}
