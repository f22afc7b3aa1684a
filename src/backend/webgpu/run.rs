//! One run of a loaded plan.

use std::collections::HashMap;

use super::convert::{from_gpu, to_gpu};
use super::device::{Command, Device, Usage};
use super::exec::{BoundSlots, Executor, Feed, Fetched, Loaded, Location};
use super::memory::GpuBuffer;
use crate::error::{Error, Result};
use crate::plan::{Buffer, GpuValue, Output, Step};
use crate::tensor::Tensor;

/// A run under way.
pub(super) struct Run<'a, D: Device> {
    executor: &'a Executor<D>,
    loaded: &'a Loaded<D>,
    bound: &'a BoundSlots<D>,
    feeds: &'a HashMap<String, Feed<D>>,
    timed: bool,
    /// What the host has beside the feeds.
    host: HashMap<String, Tensor>,
    /// What is not yet handed over.
    commands: Vec<Command<'a, D>>,
    /// Values on their way to the staging buffer.
    downloads: Vec<&'a GpuValue>,
}

impl<'a, D: Device> Run<'a, D> {
    pub fn new(
        executor: &'a Executor<D>,
        loaded: &'a Loaded<D>,
        bound: &'a BoundSlots<D>,
        feeds: &'a HashMap<String, Feed<D>>,
        timed: bool,
    ) -> Run<'a, D> {
        Run {
            executor,
            loaded,
            bound,
            feeds,
            timed,
            host: HashMap::new(),
            commands: Vec::new(),
            downloads: Vec::new(),
        }
    }

    /// Takes the steps of the plan and brings the outputs to where the caller wants them.
    pub async fn carry_out(mut self, fetches: &[(&str, Location)]) -> Result<Vec<Fetched<D>>> {
        let (loaded, bound) = (self.loaded, self.bound);
        let mut launches = loaded.pipelines.iter().zip(&bound.bindings);
        for step in &loaded.plan.steps {
            match step {
                Step::Upload(value) => self.upload(value)?,
                Step::Launch(placed) => {
                    let (pipeline, bindings) = launches.next().expect("each launch was bound");
                    self.commands.push(Command::Dispatch {
                        pipeline,
                        bindings,
                        grid: placed.launch.grid,
                    });
                }
                Step::Download(value) => self.download(value),
                Step::Cpu(piece) => self.piece(*piece).await?,
            }
        }
        self.finish(fetches).await
    }

    fn buffer(&self, buffer: Buffer) -> &'a GpuBuffer<D> {
        self.loaded.buffer(buffer, &self.bound.slots)
    }

    fn submit(&mut self) {
        if !self.commands.is_empty() {
            self.executor
                .gpu()
                .device
                .submit(&self.commands, self.timed);
            self.commands.clear();
        }
    }

    fn upload(&mut self, value: &'a GpuValue) -> Result<()> {
        let to = &self.buffer(value.buffer).buffer;
        if let Some(Feed::Gpu { buffer: from, .. }) = self.feeds.get(&value.name) {
            self.commands.push(Command::Copy {
                from,
                to,
                to_offset: 0,
                // A caller's buffer may end with its elements.
                size_bytes: value.storage.used_bytes(value.sizes.iter().product()),
            });
            return Ok(());
        }
        // Writes take effect before what is submitted after them, not where they stand.
        self.submit();
        let tensor = self.on_host(&value.name)?;
        let bytes = to_gpu(tensor, value.storage).map_err(|error| error.within(&value.name))?;
        if !bytes.is_empty() {
            self.executor.gpu().device.write_buffer(to, &bytes);
        }
        Ok(())
    }

    fn on_host(&self, name: &str) -> Result<&Tensor> {
        match (self.host.get(name), self.feeds.get(name)) {
            (Some(tensor), _) | (None, Some(Feed::Host(tensor))) => Ok(tensor),
            _ => Err(Error::internal(
                name,
                "the plan wants it before it is there",
            )),
        }
    }

    fn download(&mut self, value: &'a GpuValue) {
        self.commands.push(Command::Copy {
            from: &self.buffer(value.buffer).buffer,
            to: &self.loaded.staging.buffer,
            to_offset: self.downloads.iter().map(|value| value.size_bytes()).sum(),
            size_bytes: value.size_bytes(),
        });
        self.downloads.push(value);
    }

    /// Waits for the downloads and keeps them as host values.
    async fn collect(&mut self) -> Result<()> {
        self.submit();
        if self.downloads.is_empty() {
            return Ok(());
        }
        let device = &self.executor.gpu().device;
        let total = self.downloads.iter().map(|value| value.size_bytes()).sum();
        let bytes = device
            .read_buffer(&self.loaded.staging.buffer, total)
            .await?;
        let mut at = 0;
        for value in self.downloads.drain(..) {
            let part = &bytes[at..];
            let tensor = from_gpu(part, value.storage, value.dtype, &value.sizes)?;
            self.host.insert(value.name.clone(), tensor);
            at += value.size_bytes() as usize;
        }
        Ok(())
    }

    async fn piece(&mut self, piece_idx: usize) -> Result<()> {
        let graph = &self.loaded.plan.pieces[piece_idx].graph;
        for &input in &graph.inputs {
            let name = &*graph.value(input).name;
            if let Some(feed @ Feed::Gpu { .. }) = self.feeds.get(name)
                && !self.host.contains_key(name)
            {
                let tensor = self.executor.fetch(feed).await?;
                self.host.insert(name.to_owned(), tensor);
            }
        }
        self.collect().await?;
        let name = |&id| &*graph.value(id).name;
        let inputs: Vec<&str> = graph.inputs.iter().map(name).collect();
        let outputs: Vec<&str> = graph.outputs.iter().map(name).collect();
        let feeds: Result<Vec<_>> = inputs.iter().map(|&n| Ok((n, self.on_host(n)?))).collect();
        let tensors = self.loaded.pieces[piece_idx].run(&feeds?, &outputs)?;
        let outputs = outputs.into_iter().map(str::to_owned);
        self.host.extend(outputs.zip(tensors));
        Ok(())
    }

    async fn finish(mut self, fetches: &[(&str, Location)]) -> Result<Vec<Fetched<D>>> {
        let mut on_gpu = Vec::new();
        for (name, location) in fetches {
            let Output::Gpu(value) = self.loaded.output(name)? else {
                continue;
            };
            match location {
                Location::Host => self.download(value),
                Location::Gpu => {
                    let gpu = self.executor.gpu();
                    let buffer = gpu.buffer(value.size_bytes(), Usage::Storage)?;
                    on_gpu.push((value, buffer));
                }
            }
        }
        let from: Vec<_> = on_gpu
            .iter()
            .map(|(value, _)| &self.buffer(value.buffer).buffer)
            .collect();
        let copies = from
            .into_iter()
            .zip(&on_gpu)
            .map(|(from, (value, to))| Command::Copy {
                from,
                to: &to.buffer,
                to_offset: 0,
                size_bytes: value.size_bytes(),
            });
        // The new buffers do not live as long as the plan's, so their copies go by themselves.
        self.submit();
        let copies: Vec<Command<D>> = copies.collect();
        let device = &self.executor.gpu().device;
        if !copies.is_empty() {
            device.submit(&copies, false);
        }
        drop(copies);
        self.collect().await?;
        if let Some(error) = device.failure() {
            return Err(error);
        }
        let mut on_gpu: HashMap<String, Fetched<D>> = on_gpu
            .into_iter()
            .map(|(value, buffer)| {
                let (dtype, sizes) = (value.dtype, value.sizes.clone());
                let fetched = Fetched::Gpu {
                    buffer,
                    dtype,
                    sizes,
                };
                (value.name.clone(), fetched)
            })
            .collect();
        for (name, _) in fetches {
            if let Some(feed @ Feed::Gpu { .. }) = self.feeds.get(*name) {
                let tensor = self.executor.fetch(feed).await?;
                self.host.insert((*name).to_owned(), tensor);
            }
        }
        let fetched = fetches.iter().map(|(name, _)| {
            if let Some(fetched) = on_gpu.remove(*name) {
                return Ok(fetched);
            }
            Ok(Fetched::Host(match self.loaded.output(name)? {
                Output::Constant(_, tensor) => tensor.clone(),
                Output::Gpu(_) | Output::Host(_) => self.on_host(name)?.clone(),
            }))
        });
        fetched.collect()
    }
}
