//! `sentinel-worker`: the engine as a native program.

mod bench;
mod channel;
mod context;
mod devices;
mod memory;
mod run;
mod runner;
mod serve;
mod service;
mod time;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sentinel_inference::error::Result;
use sentinel_inference::session::Provider;
use sentinel_inference::trace::enable;
use service::ProviderChoice;

/// The native worker of sentinel-inference: serves models over HTTP, WebSocket and NATS, unless there is a command.
#[derive(Parser)]
#[command(name = "sentinel-worker", version, arg_required_else_help = true)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<serve::Options>,
}

#[derive(Subcommand)]
enum Command {
    /// Loads a worker with requests and tells how many it answers, and how fast.
    Bench(Box<bench::BenchArguments>),
    /// Lists what models can run on here.
    Devices,
    /// Runs a model once and writes its outputs.
    Run {
        /// An .onnx file; its external data lies beside it.
        model: PathBuf,
        /// Inputs by name in a NumPy .npz file, or in_0, in_1, ... in the model's order.
        #[arg(long)]
        inputs: PathBuf,
        /// Where the outputs go, as .npz by name.
        #[arg(long)]
        output: PathBuf,
        /// cpu, webgpu or wonnx. What webgpu has no kernel for runs on the cpu.
        #[arg(long, default_value = "cpu", value_parser = provider)]
        provider: Provider,
        /// Refuse a model that the provider does not take whole.
        #[arg(long)]
        strict: bool,
    },
    /// Runs a model and writes its outputs, then runs and times it once for each line it reads.
    Time {
        /// An .onnx file; its external data lies beside it.
        model: PathBuf,
        /// Inputs by name in a NumPy .npz file, or in_0, in_1, ... in the model's order.
        #[arg(long)]
        inputs: PathBuf,
        /// Where the outputs of the first run go, as .npz by name.
        #[arg(long)]
        output: PathBuf,
        /// auto, webgpu, wonnx, cpu or onnxruntime.
        #[arg(long, default_value = "cpu", value_parser = ProviderChoice::parse)]
        provider: ProviderChoice,
    },
}

fn provider(name: &str) -> Result<Provider, String> {
    Provider::from_name(name).ok_or_else(|| "expected cpu, webgpu or wonnx".to_owned())
}

fn main() -> ExitCode {
    let switches = std::env::var("SENTINEL_DEBUG").unwrap_or_default();
    if let Err(error) = enable(
        &switches,
        Box::new(|name, text| eprintln!("[{name}]\n{text}")),
    ) {
        eprintln!("{}: SENTINEL_DEBUG: {error}", error.kind.code());
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::parse();
    let done = match (arguments.command, arguments.serve) {
        (Some(command), _) => carry_out(command),
        (None, serve) => serve::serve(&serve.expect("its options are required without a command")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", error.kind.code());
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Devices => {
            print!("{}", devices::list());
            Ok(())
        }
        Command::Run {
            model,
            inputs,
            output,
            provider,
            strict,
        } => run::run(&model, &inputs, &output, provider, strict),
        Command::Time {
            model,
            inputs,
            output,
            provider,
        } => time::time(&model, &inputs, &output, provider),
    }
}
