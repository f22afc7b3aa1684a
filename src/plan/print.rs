//! A plan as text.

use std::fmt::{self, Display, Formatter};

use super::{Buffer, Output, Placed, Plan, Step};

impl Display for Buffer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Buffer::Weight(idx) => write!(f, "w{idx}"),
            Buffer::Kept(idx) => write!(f, "k{idx}"),
            Buffer::Slot(idx) => write!(f, "s{idx}"),
        }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let memory = self.memory();
        writeln!(
            f,
            "memory weights {} activations {} staging {}",
            memory.weights, memory.activations, memory.staging
        )?;
        for (idx, weight) in self.weights.iter().enumerate() {
            writeln!(f, "w{idx} = {} bytes {}", weight.size_bytes(), weight.name)?;
        }
        for (idx, bytes) in self.kept.iter().enumerate() {
            writeln!(f, "k{idx} = {bytes} bytes")?;
        }
        for (idx, bytes) in self.slots.iter().enumerate() {
            writeln!(f, "s{idx} = {bytes} bytes")?;
        }
        if !self.setup.is_empty() {
            writeln!(f, "once")?;
        }
        for placed in &self.setup {
            self.print_launch(f, placed)?;
        }
        writeln!(f, "run")?;
        for step in &self.steps {
            match step {
                Step::Upload(value) => {
                    let (dtype, sizes) = (value.dtype, &value.sizes);
                    writeln!(
                        f,
                        "  upload {} {dtype}{sizes:?} -> {}",
                        value.name, value.buffer
                    )?;
                }
                Step::Download(value) => {
                    writeln!(f, "  download {} -> {}", value.buffer, value.name)?;
                }
                Step::Launch(placed) => self.print_launch(f, placed)?,
                Step::Cpu(piece) => {
                    let graph = &self.pieces[*piece].graph;
                    let name = |&id| &*graph.value(id).name;
                    let inputs: Vec<&str> = graph.inputs.iter().map(name).collect();
                    let outputs: Vec<&str> = graph.outputs.iter().map(name).collect();
                    let (inputs, outputs) = (inputs.join(", "), outputs.join(", "));
                    let n = graph.node_count();
                    writeln!(f, "  cpu {n} nodes ({inputs}) -> {outputs}")?;
                    for id in graph.order().map_err(|_| fmt::Error)? {
                        writeln!(f, "    {}", graph.node(id).label())?;
                    }
                }
            }
        }
        for output in &self.outputs {
            match output {
                Output::Gpu(value) => writeln!(f, "  output {} = {}", value.name, value.buffer)?,
                Output::Host(name) => writeln!(f, "  output {name}")?,
                Output::Constant(name, _) => writeln!(f, "  output {name} = constant")?,
            }
        }
        Ok(())
    }
}

impl Plan {
    fn print_launch(&self, f: &mut Formatter<'_>, placed: &Placed) -> fmt::Result {
        let launch = &placed.launch;
        let names = |writes: bool| {
            let pairs = launch.bindings.iter().zip(&placed.buffers);
            let chosen = pairs.filter(|(binding, _)| binding.writes == writes);
            let names: Vec<String> = chosen.map(|(_, buffer)| buffer.to_string()).collect();
            names.join(", ")
        };
        let row = &self.placement[placed.node_idx];
        let label = if row.node.is_empty() {
            &row.op
        } else {
            &row.node
        };
        let [x, y, z] = launch.grid;
        let (reads, writes) = (names(false), names(true));
        writeln!(
            f,
            "  {} ({reads}) -> {writes} grid {x}x{y}x{z} # {label}",
            launch.name
        )
    }
}
