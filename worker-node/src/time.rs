//! Runs one model again and again, for whoever compares it with others.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::time::Instant;

use sentinel_inference::error::Result;

use crate::run::{feeds, io, write};
use crate::runner::{OpenModel, Runner};
use crate::service::ProviderChoice;

/// Loads the model, runs it and writes the outputs; prints `{}`. Then runs once for each line of
/// the standard input and prints `{"ms": ...}`: the time until the outputs are on the host.
///
/// # Errors
/// As [`Runner::open`] and [`Runner::run`]; `IO` for files.
pub fn time(model: &Path, inputs: &Path, output: &Path, provider: ProviderChoice) -> Result<()> {
    let mut runner = Runner::open(&OpenModel {
        path: model.to_owned(),
        provider,
        adapter: None,
    })?;
    let feeds = feeds(runner.inputs(), inputs)?;
    write(output, &runner.run(feeds.clone(), &[])?)?;
    say("{}")?;
    for line in stdin().lock().lines() {
        line.map_err(|error| io("standard input", error))?;
        let feeds = feeds.clone();
        let begin = Instant::now();
        runner.run(feeds, &[])?;
        let elapsed_ms = begin.elapsed().as_secs_f64() * 1e3;
        say(&format!("{{\"ms\": {elapsed_ms}}}"))?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| io("standard output", error))
}
