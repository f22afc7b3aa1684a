//! Shader text from parts: `prelude + bindings + constants + snippets + body`.

use std::fmt::Write;

use super::{Binding, Launch, Port, Storage};

/// A launch in the making. The order of `param`, `read` and `write` is that of the uniform words
/// and of the bindings.
///
/// For a port named `x` the text has the array `x`, `alias x_value` (the type to compute with) and
/// `fn load_x(i: u32) -> x_value` or `fn store_x(i: u32, value: x_value)`; packed types store whole
/// words, `fn store_x(word: u32, value: vec4<x_value>)`.
#[derive(Clone, Debug)]
pub struct Kernel {
    name: &'static str,
    needs_f16: bool,
    head: String,
    members: String,
    body: String,
    params: Vec<u32>,
    bindings: Vec<Binding>,
}

impl Kernel {
    /// `body` has the entry point `main`.
    pub fn new(name: &'static str, body: &str) -> Kernel {
        Kernel {
            name,
            needs_f16: false,
            head: String::new(),
            members: String::new(),
            body: body.to_owned(),
            params: Vec::new(),
            bindings: Vec::new(),
        }
    }

    /// `params.name`, a number that varies from call to call.
    pub fn param(mut self, name: &str, value: usize) -> Kernel {
        let value = u32::try_from(value).expect("the plan refuses buffers of 2^32 elements");
        self.push_param(name, "u32", value);
        self
    }

    /// A signed `params.name`.
    pub fn param_i32(mut self, name: &str, value: i32) -> Kernel {
        self.push_param(name, "i32", value.cast_unsigned());
        self
    }

    pub fn param_f32(mut self, name: &str, value: f32) -> Kernel {
        self.push_param(name, "f32", value.to_bits());
        self
    }

    /// `params.name0`, `params.name1`, …
    pub fn params(self, name: &str, values: &[usize]) -> Kernel {
        let numbered = values.iter().enumerate();
        numbered.fold(self, |kernel, (idx, &value)| {
            kernel.param(&format!("{name}{idx}"), value)
        })
    }

    /// `params.name`, words in vectors of four; behind all other parameters.
    pub fn param_words(mut self, name: &str, words: &[u32]) -> Kernel {
        let aligned = self.params.len().next_multiple_of(4);
        self.params.resize(aligned, 0);
        self.params.extend(words);
        let n_vectors = words.len().div_ceil(4);
        writeln!(self.members, "  {name}: array<vec4<u32>, {n_vectors}>,")
            .expect("strings take what is written");
        self
    }

    fn push_param(&mut self, name: &str, wgsl: &str, word: u32) {
        self.params.push(word);
        writeln!(self.members, "  {name}: {wgsl},").expect("strings take what is written");
    }

    /// A number that the text is specialised for.
    pub fn constant(self, name: &str, value: usize) -> Kernel {
        self.snippet(&format!("const {name}: u32 = {value}u;"))
    }

    /// Further declarations.
    pub fn snippet(mut self, text: &str) -> Kernel {
        self.head.push_str(text);
        self.head.push('\n');
        self
    }

    /// Binds what is read, element by element.
    pub fn read(self, name: &str, port: Port) -> Kernel {
        let load = load(name, port.storage);
        self.bind(name, port, port.storage.element(), false)
            .snippet(&load)
    }

    /// Binds what is written, element by element or, for packed types, word by word.
    pub fn write(self, name: &str, port: Port) -> Kernel {
        let store = store(name, port.storage);
        self.bind(name, port, port.storage.element(), true)
            .snippet(&store)
    }

    /// Binds what is read as vectors of four: `fn load_x(i: u32) -> vec4<x_value>` for elements
    /// `4 * i` to `4 * i + 3`. Of packed types these are words.
    pub fn read_vec4(self, name: &str, port: Port) -> Kernel {
        let (element, value) = (port.storage.element(), port.storage.value());
        if port.storage.is_packed() {
            return self
                .bind(name, port, element, false)
                .snippet(&load_word(name, port.storage));
        }
        self.bind(name, port, &format!("vec4<{element}>"), false)
            .snippet(&format!(
                "fn load_{name}(i: u32) -> vec4<{value}> {{ return vec4<{value}>({name}[i]); }}"
            ))
    }

    /// Binds pairs of words that are read, as an array.
    pub fn read_vec2(self, name: &str, port: Port) -> Kernel {
        let element = format!("vec2<{}>", port.storage.element());
        self.bind(name, port, &element, false)
    }

    /// Binds what is written as vectors of four, which is how packed types are written anyway.
    pub fn write_vec4(self, name: &str, port: Port) -> Kernel {
        if port.storage.is_packed() {
            return self.write(name, port);
        }
        let (element, value) = (port.storage.element(), port.storage.value());
        let rounded = match port.storage {
            Storage::F16 => "nearest_half4(value)",
            _ => "value",
        };
        self.bind(name, port, &format!("vec4<{element}>"), true)
            .snippet(&format!(
                "fn store_{name}(i: u32, value: vec4<{value}>) {{ {name}[i] = vec4<{element}>({rounded}); }}"
            ))
    }

    /// Binds a buffer that launches before have written and this one adds to, as an array.
    pub fn read_write(self, name: &str, port: Port) -> Kernel {
        self.bind(name, port, port.storage.element(), true)
    }

    fn bind(mut self, name: &str, port: Port, array: &str, writes: bool) -> Kernel {
        self.needs_f16 |= port.storage == Storage::F16;
        let access = if writes { "read_write" } else { "read" };
        let idx = self.bindings.len() + 1;
        self.bindings.push(Binding {
            operand: port.operand,
            writes,
        });
        self.snippet(&format!(
            "@group(0) @binding({idx}) var<storage, {access}> {name}: array<{array}>;\nalias {name}_value = {};",
            port.storage.value()
        ))
    }

    /// The launch over a grid of workgroups.
    pub fn launch(self, grid: [u32; 3]) -> Launch {
        let mut code = String::new();
        if self.needs_f16 {
            code.push_str("enable f16;\n");
        }
        let mut params = self.params;
        if !params.is_empty() {
            code.push_str("struct Params {\n");
            code.push_str(&self.members);
            code.push_str("}\n@group(0) @binding(0) var<uniform> params: Params;\n");
            params.resize(params.len().next_multiple_of(4), 0);
        }
        if self.head.contains("nearest_half") {
            code.push_str(include_str!("../wgsl/half.wgsl"));
        }
        code.push_str(&self.head);
        code.push_str(&self.body);
        Launch {
            name: self.name,
            code: code.into(),
            params,
            bindings: self.bindings,
            grid,
        }
    }
}

fn load(name: &str, storage: Storage) -> String {
    let value = storage.value();
    let element = match storage {
        Storage::F32 | Storage::I32 | Storage::U32 => format!("{name}[i]"),
        Storage::F16 => format!("f32({name}[i])"),
        Storage::I8 => {
            format!("extractBits(bitcast<i32>({name}[i / 4u]), (i % 4u) * 8u, 8u)")
        }
        Storage::U8 => format!("extractBits({name}[i / 4u], (i % 4u) * 8u, 8u)"),
        Storage::Bool => format!("extractBits({name}[i / 4u], (i % 4u) * 8u, 8u) != 0u"),
    };
    format!("fn load_{name}(i: u32) -> {value} {{ return {element}; }}")
}

/// The four elements of a word.
fn load_word(name: &str, storage: Storage) -> String {
    let value = storage.value();
    let elements = match storage {
        Storage::I8 => {
            format!("vec4<i32>(bitcast<i32>({name}[i])) << vec4<u32>(24u, 16u, 8u, 0u)")
        }
        _ => format!("vec4<u32>({name}[i]) >> vec4<u32>(0u, 8u, 16u, 24u)"),
    };
    let elements = match storage {
        Storage::I8 => format!("({elements}) >> vec4<u32>(24u)"),
        Storage::Bool => format!("(({elements}) & vec4<u32>(255u)) != vec4<u32>(0u)"),
        _ => format!("({elements}) & vec4<u32>(255u)"),
    };
    format!("fn load_{name}(i: u32) -> vec4<{value}> {{ return {elements}; }}")
}

fn store(name: &str, storage: Storage) -> String {
    let value = storage.value();
    let word = match storage {
        Storage::F32 | Storage::I32 | Storage::U32 => {
            return format!("fn store_{name}(i: u32, value: {value}) {{ {name}[i] = value; }}");
        }
        Storage::F16 => {
            return format!(
                "fn store_{name}(i: u32, value: f32) {{ {name}[i] = f16(nearest_half(value)); }}"
            );
        }
        Storage::I8 => "bitcast<vec4<u32>>(value)",
        Storage::U8 => "value",
        Storage::Bool => "select(vec4<u32>(0u), vec4<u32>(1u), value)",
    };
    format!(
        "fn store_{name}(word: u32, value: vec4<{value}>) {{
  let bytes = ({word} & vec4<u32>(255u)) << vec4<u32>(0u, 8u, 16u, 24u);
  {name}[word] = bytes.x | bytes.y | bytes.z | bytes.w;
}}"
    )
}
