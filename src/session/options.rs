//! What a session is made with, and what follows from it before any node is looked at.

use std::collections::BTreeMap;

use crate::plan::Provider;

/// What the host found of a WebGPU adapter.
#[derive(Clone, Debug, Default)]
pub struct Adapter {
    pub present: bool,
    /// A GPU that the CPU plays: SwiftShader, llvmpipe, or `isFallbackAdapter`.
    pub software: bool,
    /// Its name, or why there is none.
    pub description: String,
}

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// In order of preference; `None` lets the engine choose.
    pub providers: Option<Vec<Provider>>,
    /// Refuse a model that the named providers do not take, instead of falling back to `cpu`.
    pub strict: bool,
    pub adapter: Adapter,
    /// Keep every value that a node gives as an output, for looking into a model; see
    /// [`observe`](super::Session::observe).
    pub observes: bool,
    /// The axis along which inputs may be joined, for [`rows`](super::Session::rows).
    pub batch_axis: Option<usize>,
    /// Make a batch of a fixed size one of any size, and refuse a model where that cannot be.
    pub rebatch: bool,
    /// Sizes for symbolic dimensions, by name.
    pub free_dimensions: BTreeMap<String, i64>,
}

impl Options {
    /// This provider and no other. Whether there is an adapter shows when the device is opened.
    pub fn only(provider: Provider) -> Options {
        Options {
            providers: Some(vec![provider]),
            strict: true,
            adapter: Adapter {
                present: true,
                ..Adapter::default()
            },
            ..Options::default()
        }
    }
}

/// The providers to try, and why one that the caller may expect is not among them.
pub(super) fn candidates(options: &Options) -> (Vec<Provider>, Option<String>) {
    let adapter = &options.adapter;
    let absent = || format!("no WebGPU adapter: {}", adapter.description);
    let Some(named) = &options.providers else {
        if !adapter.present {
            return (vec![Provider::Cpu], Some(absent()));
        }
        if adapter.software {
            let why = format!("the WebGPU adapter is software: {}", adapter.description);
            return (vec![Provider::Cpu], Some(why));
        }
        return (vec![Provider::Webgpu, Provider::Cpu], None);
    };
    let mut candidates = named.clone();
    if !options.strict && !candidates.contains(&Provider::Cpu) {
        candidates.push(Provider::Cpu);
    }
    let mut passed_over = None;
    if !adapter.present && candidates.iter().any(|&provider| provider != Provider::Cpu) {
        candidates.retain(|&provider| provider == Provider::Cpu);
        passed_over = Some(absent());
    }
    (candidates, passed_over)
}
