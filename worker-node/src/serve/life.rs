//! How the server begins and ends.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sentinel_inference::error::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::access::Access;
use super::activity::Patience;
use super::body::Bodies;
use super::listen::{Listening, accept};
use super::options::{Log, Options};
use super::{App, routes, signals, tls};
use crate::channel::nats::{self, Address};
use crate::context::{Context, Counters};
use crate::service::Service;

/// Of threads that read and write large bodies, and files.
const MAX_BLOCKING_THREADS: usize = 64;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A client that takes nothing of its answer for so long gets no more.
const STALLED: Duration = Duration::from_secs(30);
/// For connections to close, once all requests are answered.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until the process is asked to end.
///
/// # Errors
/// What is wrong with the options, the address or the repository.
pub fn serve(options: &Options) -> Result<()> {
    log(options.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .map_err(|error| io("threads", &error))?;
    let served = runtime.block_on(run(options));
    // Nobody waits for what still blocks.
    runtime.shutdown_background();
    served
}

async fn run(options: &Options) -> Result<()> {
    let signals = signals::watch().map_err(|error| io("signals", &error))?;
    let nats = options.nats.as_deref();
    let nats = nats.map(|servers| Address::parse(servers, &options.queue_group));
    let nats = nats.transpose()?;
    check_www(options)?;
    let address = address(&options.host, options.port).await?;
    let access = access(options, address)?;
    let listening = Arc::new(listening(options)?);
    let at = format!("{}:{}", options.host, options.port);
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| io(&at, &error))?;
    let address = listener.local_addr().map_err(|error| io(&at, &error))?;
    let accepting = tokio::spawn(accept(listener, listening.clone()));
    info!(%address, "loading models");
    let service = tokio::select! {
        service = Service::open(options.service()) => service?,
        () = signals.first.cancelled() => return Ok(()),
    };
    let app = app(options, service, access, &listening);
    let context = app.context.clone();
    let router = routes::router(app, options.www.as_deref());
    let is_first = listening.ready.set(router).is_ok();
    assert!(is_first, "the server starts once");
    let nats = nats.map(|address| tokio::spawn(nats_door(context.clone(), address)));
    let scheme = if listening.tls.is_some() {
        "https"
    } else {
        "http"
    };
    announce(scheme, address);
    signals.first.cancelled().await;
    info!("no new requests: asked to end");
    tokio::spawn(async move {
        signals.second.cancelled().await;
        warn!("asked to end again: requests are left without an answer");
        std::process::exit(1);
    });
    context.draining.cancel();
    context.service.drain().await;
    if let Some(nats) = nats {
        let _ = nats.await;
    }
    let closed = listening.connections.acquire_many(options.max_connections);
    if timeout(FAREWELL, closed).await.is_err() {
        warn!("connections are left open");
    }
    accepting.abort();
    info!("all requests are answered");
    Ok(())
}

fn check_www(options: &Options) -> Result<()> {
    match &options.www {
        Some(folder) if !folder.is_dir() => {
            let at = format!("--www {}", folder.display());
            Err(Error::new(ErrorKind::Io, at, "it is no folder"))
        }
        _ => Ok(()),
    }
}

fn listening(options: &Options) -> Result<Listening> {
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificates), Some(key)) => Some(tls::acceptor(certificates, key)?),
        _ => None,
    };
    Ok(Listening {
        tls,
        patience: Patience {
            idle: options.idle_timeout_s,
            head: options.slow_sender_s,
            stalled: STALLED,
        },
        max_header_bytes: usize::from(options.max_header_kib) << 10,
        connections: Arc::new(Semaphore::new(options.max_connections as usize)),
        ready: OnceLock::new(),
        starting: routes::starting(),
        draining: CancellationToken::new(),
    })
}

fn app(options: &Options, service: Arc<Service>, access: Access, listening: &Listening) -> App {
    let limits = options.limits();
    App {
        context: Arc::new(Context {
            service,
            limits,
            worker_id: format!("{:016x}", rand::random::<u64>()),
            credits: options.max_in_flight,
            heartbeat: HEARTBEAT,
            idle_timeout: options.idle_timeout_s,
            allow_upload: options.allow_upload,
            draining: listening.draining.clone(),
            counters: Counters::default(),
        }),
        access: Arc::new(access),
        bodies: Bodies::new(limits.max_message_bytes, options.slow_sender_s),
        connections: listening.connections.clone(),
        max_connections: options.max_connections as usize,
    }
}

/// The other doors stay open where this one cannot.
async fn nats_door(context: Arc<Context>, address: Address) {
    if let Err(error) = nats::serve(context, address).await {
        error!(%error, "no requests come through NATS");
    }
}

fn log(log: Log) {
    let filter = EnvFilter::try_from_default_env();
    // The GPU's own libraries tell much that is of no use to who runs a worker.
    let filter = filter.unwrap_or_else(|_| {
        EnvFilter::new("info,async_nats=warn,wgpu_core=warn,wgpu_hal=error,naga=warn")
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match log {
        Log::Text => builder.init(),
        Log::Json => builder.json().init(),
    }
}

/// For those who started it: the port may be any.
fn announce(scheme: &str, address: SocketAddr) {
    let mut output = std::io::stdout().lock();
    // Nobody may be there to read it.
    let _ = writeln!(output, "sentinel-worker listening on {scheme}://{address}");
    let _ = output.flush();
    info!(%address, "ready");
}

async fn address(host: &str, port: u16) -> Result<SocketAddr> {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = lookup_host((name, port))
        .await
        .map_err(|error| io(host, &error))?;
    found
        .next()
        .ok_or_else(|| Error::new(ErrorKind::Io, host, "no address has this name"))
}

fn access(options: &Options, address: SocketAddr) -> Result<Access> {
    let token = options.token_file.as_ref().map(|file| {
        let at = format!("--token-file {}", file.display());
        std::fs::read_to_string(file).map_err(|error| io(&at, &error))
    });
    let token = token.transpose()?;
    let has_tls = options.tls_cert.is_some();
    let is_loopback = address.ip().is_loopback();
    if !is_loopback && !options.insecure && (token.is_none() || !has_tls) {
        let why = "other machines reach this address, so it needs --token-file, --tls-cert and --tls-key; \
            --host 127.0.0.1 listens for this machine alone, and --insecure goes without protection";
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("--host {}", options.host),
            why,
        ));
    }
    let token = token.as_deref().map(str::trim);
    Access::new(token, &options.allow_origin, is_loopback, has_tls)
}

fn io(at: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, at, error.to_string())
}
