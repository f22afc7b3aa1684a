//! Runs one model again and again, for whoever compares it with others.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::time::Instant;

use sentinel_inference::backend::webgpu::native::{AdapterChoice, NativeDevice};
use sentinel_inference::backend::webgpu::{Feed, Gpu};
use sentinel_inference::backend::wonnx::WonnxSession;
use sentinel_inference::error::Result;
use sentinel_inference::session::{GpuSession, Plan, Provider, Session};
use sentinel_inference::tensor::Tensor;

use crate::run::{io, open, write};

pub type Named = Vec<(String, Tensor)>;

/// What was made ready once.
pub enum Ready {
    Cpu(Box<Session>),
    Webgpu(Box<Session>, Box<GpuSession<NativeDevice>>),
    Wonnx(WonnxSession),
}

/// Loads the model, runs it and writes the outputs; prints `{}`. Then runs once for each line of
/// the standard input and prints `{"ms": ...}`: the time until the outputs are on the host.
///
/// # Errors
/// As [`crate::run::run`].
pub fn time(model: &Path, inputs: &Path, output: &Path, provider: Provider) -> Result<()> {
    let (session, feeds) = open(model, inputs, provider, false)?;
    pollster::block_on(async {
        let ready = Ready::new(session, &feeds).await?;
        write(output, &ready.run(feeds.clone()).await?)?;
        say("{}")?;
        for line in stdin().lock().lines() {
            line.map_err(|error| io("standard input", error))?;
            let feeds = feeds.clone();
            let begin = Instant::now();
            ready.run(feeds).await?;
            let elapsed_ms = begin.elapsed().as_secs_f64() * 1e3;
            say(&format!("{{\"ms\": {elapsed_ms}}}"))?;
        }
        Ok(())
    })
}

impl Ready {
    /// # Errors
    /// What the backend's device and pipelines find.
    pub async fn new(session: Session, feeds: &Named) -> Result<Ready> {
        let sizes = feeds
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.sizes().to_vec()));
        match session.plan(&sizes.collect())? {
            Plan::Cpu => Ok(Ready::Cpu(Box::new(session))),
            Plan::Wonnx { model } => Ok(Ready::Wonnx(WonnxSession::create(&model).await?)),
            Plan::Webgpu => {
                let device = NativeDevice::open(&AdapterChoice::from_env()).await?;
                let on_gpu = GpuSession::new(&session, Gpu::new(device))?;
                Ok(Ready::Webgpu(Box::new(session), Box::new(on_gpu)))
            }
        }
    }

    /// # Errors
    /// What the run finds.
    pub async fn run(&self, feeds: Named) -> Result<Named> {
        let named = |names: Vec<&str>, tensors: Vec<Tensor>| {
            let names = names.into_iter().map(str::to_owned);
            names.zip(tensors).collect()
        };
        match self {
            Ready::Cpu(session) => {
                let names = names(session);
                let tensors = session.run(feeds, &names)?;
                Ok(named(names, tensors))
            }
            Ready::Webgpu(session, on_gpu) => {
                let feeds = session.check_feeds(feeds)?.into_iter();
                let feeds = feeds.map(|(name, x)| (name, Feed::Host(x))).collect();
                let names = names(session);
                let tensors = on_gpu.run_on_host(feeds, &names).await?;
                Ok(named(names, tensors))
            }
            Ready::Wonnx(session) => session.run(feeds).await,
        }
    }
}

fn names(session: &Session) -> Vec<&str> {
    let outputs = session.outputs().iter();
    outputs.map(|port| &*port.name).collect()
}

fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| io("standard output", error))
}
