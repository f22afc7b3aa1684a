//! A device that computes nothing and writes down what it is asked: for tests of plans, of their
//! execution and of the memory they give back.

use std::cell::{Cell, RefCell};

use super::device::{Bound, Command, Device, Shader, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::Capabilities;

#[derive(Default)]
pub struct NullDevice {
    pub caps: Capabilities,
    pub log: RefCell<Vec<String>>,
    /// Compiled so far.
    pub n_pipelines: Cell<usize>,
    /// What the next uses of the device fail with.
    pub lost: RefCell<Option<String>>,
}

impl NullDevice {
    fn say(&self, line: String) {
        self.log.borrow_mut().push(line);
    }

    fn alive(&self) -> Result<()> {
        self.failure().map_or(Ok(()), Err)
    }
}

impl Device for NullDevice {
    type Buffer = u64;
    type Pipeline = &'static str;
    type Bindings = usize;

    fn capabilities(&self) -> &Capabilities {
        &self.caps
    }

    fn description(&self) -> String {
        "null".into()
    }

    fn create_buffer(&self, size_bytes: u64, usage: Usage) -> u64 {
        self.say(format!("create {usage:?} {size_bytes}"));
        size_bytes
    }

    fn destroy_buffer(&self, buffer: &u64) {
        self.say(format!("destroy {buffer}"));
    }

    fn write_buffer(&self, buffer: &u64, bytes: &[u8]) {
        self.say(format!("write {} of {buffer}", bytes.len()));
    }

    async fn create_pipelines(&self, shaders: Vec<Shader>) -> Result<Vec<&'static str>> {
        self.alive()?;
        self.n_pipelines.set(self.n_pipelines.get() + shaders.len());
        Ok(shaders.iter().map(|shader| shader.name).collect())
    }

    fn bind(&self, _: &&'static str, bound: &[Bound<u64>]) -> usize {
        bound.len()
    }

    fn submit(&self, commands: &[Command<NullDevice>], _timed: bool) {
        let shown = commands.iter().map(|command| match command {
            Command::Dispatch { pipeline, grid, .. } => format!("{pipeline} {grid:?}"),
            Command::Copy { size_bytes, .. } => format!("copy {size_bytes}"),
        });
        self.say(format!("submit {}", shown.collect::<Vec<_>>().join(", ")));
    }

    async fn timings(&self) -> Result<Vec<u64>> {
        Ok(Vec::new())
    }

    async fn read_buffer(&self, _: &u64, size_bytes: u64) -> Result<Vec<u8>> {
        self.say(format!("read {size_bytes}"));
        self.alive()?;
        Ok(vec![0; size_bytes as usize])
    }

    fn open_scopes(&self) {}

    async fn close_scopes(&self) -> Result<()> {
        self.alive()
    }

    fn failure(&self) -> Option<Error> {
        let why = self.lost.borrow().clone()?;
        Some(Error::new(ErrorKind::DeviceLost, "null", why))
    }
}
