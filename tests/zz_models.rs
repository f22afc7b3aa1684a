use sentinel_inference::backend::cpu;
use sentinel_inference::graph::{Graph, text};
use sentinel_inference::model::onnx::{MapExternal, read};
use sentinel_inference::passes;
use std::collections::BTreeMap;

fn counts(graph: &Graph) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for (_, node) in graph.nodes() {
        *all.entry(node.op.to_string()).or_default() += 1;
    }
    all
}

#[test]
fn models() {
    for path in std::env::var("MODELS").unwrap().split(',') {
        let Ok(bytes) = std::fs::read(path) else {
            println!("MISSING {path}");
            continue;
        };
        let model = match read(bytes.into(), &MapExternal::default()) {
            Ok(m) => m,
            Err(e) => {
                println!("{path}: {e}");
                continue;
            }
        };
        let mut graph = model.graph;
        let bind: i64 = std::env::var("BIND").ok().map_or(0, |b| b.parse().unwrap());
        if bind > 0 {
            sentinel_inference::graph::specialize(&mut graph, &|_| Some(bind));
        }
        if let Err(e) = passes::prepare(&mut graph, &cpu::evaluate) {
            println!("{path}: {e}");
            continue;
        }
        let before = counts(&graph);
        let start = std::time::Instant::now();
        passes::fuse(&mut graph, &cpu::evaluate).unwrap();
        let ms = start.elapsed().as_millis();
        let after = counts(&graph);
        println!(
            "== {path}: {} -> {} nodes in {ms} ms",
            before.values().sum::<usize>(),
            after.values().sum::<usize>()
        );
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let (a, b) = (
                before.get(name).unwrap_or(&0),
                after.get(name).unwrap_or(&0),
            );
            println!("   {name}: {a} -> {b}");
        }
        if std::env::var("PRINT").is_ok() {
            println!("{}", text::print_short(&graph));
        }
    }
}
