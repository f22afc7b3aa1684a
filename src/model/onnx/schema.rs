//! The messages of onnx.proto that the engine reads, as they stand in the file. Names are slices
//! of the file; what they mean is decided in [`super::build`].
//!
//! What has no name or no operator is refused at once: an empty message takes two bytes in a file
//! and a hundred times that in memory.

use bytes::Bytes;

use super::proto::{Field, Packed, Reader};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact, Kind, Shape};

#[derive(Default)]
pub struct ModelProto<'a> {
    pub ir_version: i64,
    pub producer_name: &'a str,
    pub producer_version: &'a str,
    pub domain: &'a str,
    pub model_version: i64,
    pub doc: &'a str,
    pub graph: Option<GraphProto<'a>>,
    pub opsets: Vec<(&'a str, i64)>,
    pub properties: Vec<(&'a str, &'a str)>,
    pub functions: Vec<FunctionProto<'a>>,
}

#[derive(Default)]
pub struct GraphProto<'a> {
    pub name: &'a str,
    pub nodes: Vec<NodeProto<'a>>,
    pub initializers: Vec<TensorProto<'a>>,
    pub n_sparse_initializers: usize,
    pub inputs: Vec<ValueInfo<'a>>,
    pub outputs: Vec<ValueInfo<'a>>,
    pub values: Vec<ValueInfo<'a>>,
}

#[derive(Default)]
pub struct NodeProto<'a> {
    pub name: &'a str,
    pub domain: &'a str,
    pub op_type: &'a str,
    pub overload: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub attributes: Vec<AttributeProto<'a>>,
}

#[derive(Default)]
pub struct FunctionProto<'a> {
    pub name: &'a str,
    pub domain: &'a str,
    pub overload: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    /// Attributes with a default.
    pub defaults: Vec<AttributeProto<'a>>,
    pub nodes: Vec<NodeProto<'a>>,
    pub opsets: Vec<(&'a str, i64)>,
    pub size_bytes: usize,
}

pub struct AttributeProto<'a> {
    pub name: &'a str,
    /// The attribute of the enclosing function that stands here; empty for a value.
    pub reference: &'a str,
    pub value: Value<'a>,
}

pub enum Value<'a> {
    /// Neither a type nor a value; right only beside a reference.
    Missing,
    Float(f32),
    Int(i64),
    Str(&'a [u8]),
    Tensor(Box<TensorProto<'a>>),
    Graph(Box<GraphProto<'a>>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Strs(Vec<&'a [u8]>),
    Type(Box<Fact>),
    /// A kind of value that the engine does not take, by name.
    Other(&'static str),
}

pub struct ValueInfo<'a> {
    pub name: &'a str,
    /// `None` when the file says nothing of its type.
    pub fact: Option<Fact>,
    pub at: usize,
}

#[derive(Default)]
pub struct TensorProto<'a> {
    pub name: &'a str,
    pub dims: Vec<i64>,
    pub data_type: i64,
    pub raw: Option<Bytes>,
    /// The number of the one typed field that holds elements.
    pub typed_field: Option<u32>,
    /// `float_data` or `double_data`.
    pub packed: Packed,
    /// `int32_data`, `int64_data` or `uint64_data`, the last as bits.
    pub numbers: Vec<i64>,
    pub strings: Vec<&'a [u8]>,
    pub is_external: bool,
    pub external: Vec<(&'a str, &'a str)>,
    pub has_segment: bool,
    pub at: usize,
}

/// Takes a field that may occur once, so that no message is merged from pieces.
fn once<T>(slot: &mut Option<T>, field: &Field, name: &str, value: T) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::parse(field.place(name), "the field occurs twice"));
    }
    Ok(())
}

fn entry<'a>(field: &Field<'a>, name: &str) -> Result<(&'a str, &'a str)> {
    let mut reader = field.message(name, "StringStringEntryProto")?;
    let mut entry = ("", "");
    while let Some(field) = reader.next()? {
        match field.number {
            1 => entry.0 = field.text("key")?,
            2 => entry.1 = field.text("value")?,
            _ => {}
        }
    }
    Ok(entry)
}

fn opset<'a>(field: &Field<'a>) -> Result<(&'a str, i64)> {
    let mut reader = field.message("opset_import", "OperatorSetIdProto")?;
    let mut opset = ("", 0);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => opset.0 = field.text("domain")?,
            2 => opset.1 = field.int("version")?,
            _ => {}
        }
    }
    if opset.1 < 1 {
        let why = format!("version {} of domain {:?} does not exist", opset.1, opset.0);
        return Err(Error::parse(field.place("opset_import"), why));
    }
    Ok(opset)
}

impl<'a> ModelProto<'a> {
    pub fn read(mut reader: Reader<'a>) -> Result<ModelProto<'a>> {
        let mut model = ModelProto::default();
        while let Some(field) = reader.next()? {
            match field.number {
                1 => model.ir_version = field.int("ir_version")?,
                2 => model.producer_name = field.text("producer_name")?,
                3 => model.producer_version = field.text("producer_version")?,
                4 => model.domain = field.text("domain")?,
                5 => model.model_version = field.int("model_version")?,
                6 => model.doc = field.text("doc_string")?,
                7 => {
                    let graph = GraphProto::read(field.message("graph", "GraphProto")?)?;
                    once(&mut model.graph, &field, "graph", graph)?;
                }
                8 => model.opsets.push(opset(&field)?),
                14 => model.properties.push(entry(&field, "metadata_props")?),
                25 => {
                    let function = field.message("functions", "FunctionProto")?;
                    model.functions.push(FunctionProto::read(function)?);
                }
                _ => {}
            }
        }
        Ok(model)
    }
}

impl<'a> GraphProto<'a> {
    fn read(mut reader: Reader<'a>) -> Result<GraphProto<'a>> {
        let mut graph = GraphProto::default();
        while let Some(field) = reader.next()? {
            match field.number {
                1 => graph
                    .nodes
                    .push(NodeProto::read(field.message("node", "NodeProto")?)?),
                2 => graph.name = field.text("name")?,
                5 => {
                    let tensor = field.message("initializer", "TensorProto")?;
                    let tensor = TensorProto::read(tensor)?;
                    if tensor.name.is_empty() {
                        let why = "the initializer has no name";
                        return Err(Error::parse(field.place("initializer"), why));
                    }
                    graph.initializers.push(tensor);
                }
                11 => graph.inputs.push(ValueInfo::read(&field, "input")?),
                12 => graph.outputs.push(ValueInfo::read(&field, "output")?),
                13 => graph.values.push(ValueInfo::read(&field, "value_info")?),
                15 => graph.n_sparse_initializers += 1,
                _ => {}
            }
        }
        Ok(graph)
    }
}

impl<'a> NodeProto<'a> {
    fn read(mut reader: Reader<'a>) -> Result<NodeProto<'a>> {
        let at = reader.position();
        let mut node = NodeProto::default();
        while let Some(field) = reader.next()? {
            match field.number {
                1 => node.inputs.push(field.text("input")?),
                2 => node.outputs.push(field.text("output")?),
                3 => node.name = field.text("name")?,
                4 => node.op_type = field.text("op_type")?,
                5 => node.attributes.push(AttributeProto::read(&field)?),
                7 => node.domain = default_domain(field.text("domain")?),
                8 => node.overload = field.text("overload")?,
                _ => {}
            }
        }
        let place = || format!("NodeProto {} at byte {at}", node.name);
        if node.op_type.is_empty() {
            return Err(Error::parse(place(), "the node has no operator"));
        }
        if node.outputs.is_empty() {
            return Err(Error::parse(place(), "the node has no outputs"));
        }
        Ok(node)
    }

    /// The graphs among the attributes.
    pub fn bodies(&self) -> impl Iterator<Item = (&'a str, &GraphProto<'a>)> {
        self.attributes
            .iter()
            .filter_map(|attribute| match &attribute.value {
                Value::Graph(graph) => Some((attribute.name, &**graph)),
                _ => None,
            })
    }
}

/// `ai.onnx` is the default domain's other name.
pub fn default_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

impl<'a> FunctionProto<'a> {
    fn read(mut reader: Reader<'a>) -> Result<FunctionProto<'a>> {
        let at = reader.position();
        let mut function = FunctionProto {
            size_bytes: reader.remaining(),
            ..Default::default()
        };
        while let Some(field) = reader.next()? {
            match field.number {
                1 => function.name = field.text("name")?,
                4 => function.inputs.push(field.text("input")?),
                5 => function.outputs.push(field.text("output")?),
                7 => function
                    .nodes
                    .push(NodeProto::read(field.message("node", "NodeProto")?)?),
                9 => function.opsets.push(opset(&field)?),
                10 => function.domain = default_domain(field.text("domain")?),
                11 => function.defaults.push(AttributeProto::read(&field)?),
                13 => function.overload = field.text("overload")?,
                _ => {}
            }
        }
        if function.name.is_empty() {
            let place = format!("FunctionProto at byte {at}");
            return Err(Error::parse(place, "the function has no name"));
        }
        Ok(function)
    }
}

impl<'a> AttributeProto<'a> {
    fn read(field: &Field<'a>) -> Result<AttributeProto<'a>> {
        let mut reader = field.message("attribute", "AttributeProto")?;
        let mut name = "";
        let mut reference = "";
        let mut kind = 0;
        // The kind of the value that is there, for files without the kind.
        let mut seen = 0;
        let (mut float, mut int, mut text) = (0.0, 0, &[][..]);
        let (mut tensor, mut graph, mut fact) = (None, None, None);
        let (mut floats, mut ints, mut texts) = (Packed::default(), Vec::new(), Vec::new());
        while let Some(field) = reader.next()? {
            let found = match field.number {
                1 => {
                    name = field.text("name")?;
                    continue;
                }
                20 => {
                    kind = field.int("type")?;
                    continue;
                }
                21 => {
                    reference = field.text("ref_attr_name")?;
                    continue;
                }
                2 => {
                    float = field.float("f")?;
                    1
                }
                3 => {
                    int = field.int("i")?;
                    2
                }
                4 => {
                    text = field.chunk("s")?;
                    3
                }
                5 => {
                    let value = TensorProto::read(field.message("t", "TensorProto")?)?;
                    once(&mut tensor, &field, "t", value)?;
                    4
                }
                6 => {
                    let value = GraphProto::read(field.message("g", "GraphProto")?)?;
                    once(&mut graph, &field, "g", value)?;
                    5
                }
                7 => {
                    field.push_fixed("floats", 4, &mut floats)?;
                    6
                }
                8 => {
                    field.push_ints("ints", &mut ints)?;
                    7
                }
                9 => {
                    texts.push(field.chunk("strings")?);
                    8
                }
                10 => 9,
                11 => 10,
                14 => {
                    fact = Some(read_type(field.message("tp", "TypeProto")?)?);
                    13
                }
                15 => 14,
                22 => 11,
                23 => 12,
                _ => continue,
            };
            seen = found;
        }
        let absent = |what: &str| {
            let why = format!("the attribute is declared to be {what} and has none");
            Error::parse(format!("{} {name}", field.place("attribute")), why)
        };
        let value = match if kind == 0 { seen } else { kind } {
            0 => Value::Missing,
            1 => Value::Float(float),
            2 => Value::Int(int),
            3 => Value::Str(text),
            // A reference has a kind and no value.
            4 | 5 | 13 if !reference.is_empty() => Value::Missing,
            4 => Value::Tensor(Box::new(tensor.ok_or_else(|| absent("a tensor"))?)),
            5 => Value::Graph(Box::new(graph.ok_or_else(|| absent("a graph"))?)),
            6 => Value::Floats(floats.to_bytes().chunks_exact(4).map(f32_of).collect()),
            7 => Value::Ints(ints),
            8 => Value::Strs(texts),
            9 => Value::Other("a list of tensors"),
            10 => Value::Other("a list of graphs"),
            11 => Value::Other("a sparse tensor"),
            12 => Value::Other("a list of sparse tensors"),
            13 => Value::Type(Box::new(fact.ok_or_else(|| absent("a type"))?)),
            14 => Value::Other("a list of types"),
            kind => {
                let why = format!("attribute type {kind} does not exist");
                return Err(Error::parse(
                    format!("{} {name}", field.place("attribute")),
                    why,
                ));
            }
        };
        if name.is_empty() {
            return Err(Error::parse(
                field.place("attribute"),
                "the attribute has no name",
            ));
        }
        Ok(AttributeProto {
            name,
            reference,
            value,
        })
    }
}

fn f32_of(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(*bytes.first_chunk().expect("chunks have four bytes"))
}

impl<'a> ValueInfo<'a> {
    fn read(field: &Field<'a>, name: &str) -> Result<ValueInfo<'a>> {
        let mut reader = field.message(name, "ValueInfoProto")?;
        let mut value = ValueInfo {
            name: "",
            fact: None,
            at: reader.position(),
        };
        while let Some(field) = reader.next()? {
            match field.number {
                1 => value.name = field.text("name")?,
                2 => {
                    let fact = read_type(field.message("type", "TypeProto")?)?;
                    once(&mut value.fact, &field, "type", fact)?;
                }
                _ => {}
            }
        }
        if value.name.is_empty() {
            return Err(Error::parse(field.place(name), "the value has no name"));
        }
        Ok(value)
    }
}

/// A `TypeProto`, empty where nothing is known. Sequences of sequences, maps and sparse tensors are
/// [`Kind::Other`].
fn read_type(mut reader: Reader) -> Result<Fact> {
    let mut fact = Fact::default();
    let inner = |field: &Field, name: &str, message| {
        let mut reader = field.message(name, message)?;
        let mut fact = Fact::default();
        while let Some(field) = reader.next()? {
            if field.number == 1 {
                fact = read_type(field.message("elem_type", "TypeProto")?)?;
            }
        }
        Ok::<_, Error>(fact)
    };
    while let Some(field) = reader.next()? {
        match field.number {
            1 => fact = read_tensor_type(field.message("tensor_type", "TypeProto.Tensor")?)?,
            4 => {
                fact = inner(&field, "sequence_type", "TypeProto.Sequence")?;
                fact.kind = match fact.kind {
                    Kind::Tensor => Kind::Sequence,
                    _ => Kind::Other,
                };
            }
            9 => {
                fact = inner(&field, "optional_type", "TypeProto.Optional")?;
                fact.kind = match fact.kind {
                    Kind::Tensor => Kind::Optional,
                    Kind::Sequence => Kind::OptionalSequence,
                    _ => Kind::Other,
                };
            }
            // Maps, opaque types and sparse tensors.
            5 | 7 | 8 => fact.kind = Kind::Other,
            _ => {}
        }
    }
    if fact.kind == Kind::Other {
        fact = Fact {
            kind: Kind::Other,
            ..Fact::default()
        };
    }
    Ok(fact)
}

fn read_tensor_type(mut reader: Reader) -> Result<Fact> {
    let mut fact = Fact::default();
    while let Some(field) = reader.next()? {
        match field.number {
            1 => {
                let number = field.int("elem_type")?;
                fact.dtype = DType::from_onnx(number);
                if fact.dtype.is_none() && number != 0 {
                    let why = format!("element type {number} does not exist");
                    return Err(Error::parse(field.place("elem_type"), why));
                }
            }
            2 => {
                let mut shape = field.message("shape", "TensorShapeProto")?;
                let mut dims = Vec::new();
                while let Some(field) = shape.next()? {
                    if field.number == 1 {
                        dims.push(read_dim(&field)?);
                    }
                }
                fact.shape = Some(Shape(dims));
            }
            _ => {}
        }
    }
    Ok(fact)
}

fn read_dim(field: &Field) -> Result<Dim> {
    let mut reader = field.message("dim", "TensorShapeProto.Dimension")?;
    let mut dim = Dim::Unknown;
    while let Some(field) = reader.next()? {
        dim = match field.number {
            // Some exporters write -1 for what they do not know.
            1 => match field.int("dim_value")? {
                -1 => Dim::Unknown,
                size if size < 0 => {
                    let why = format!("a dimension cannot be {size}");
                    return Err(Error::parse(field.place("dim_value"), why));
                }
                size => Dim::Size(size),
            },
            2 => match field.text("dim_param")? {
                // Paddle's exporter writes "?" for every size that it does not know.
                "" | "?" => Dim::Unknown,
                name => Dim::symbol(name),
            },
            _ => continue,
        };
    }
    Ok(dim)
}

impl<'a> TensorProto<'a> {
    pub fn read(mut reader: Reader<'a>) -> Result<TensorProto<'a>> {
        let mut tensor = TensorProto {
            at: reader.position(),
            ..TensorProto::default()
        };
        while let Some(field) = reader.next()? {
            match field.number {
                1 => field.push_ints("dims", &mut tensor.dims)?,
                2 => tensor.data_type = field.int("data_type")?,
                3 => tensor.has_segment = true,
                4 | 5 | 6 | 7 | 10 | 11 => tensor.read_typed(&field)?,
                8 => tensor.name = field.text("name")?,
                9 => tensor.raw = Some(field.shared("raw_data")?),
                13 => tensor.external.push(entry(&field, "external_data")?),
                14 => tensor.is_external = field.int("data_location")? == 1,
                _ => {}
            }
        }
        Ok(tensor)
    }

    fn read_typed(&mut self, field: &Field<'a>) -> Result<()> {
        if self
            .typed_field
            .is_some_and(|number| number != field.number)
        {
            let why = "the tensor has elements in two fields";
            return Err(Error::parse(field.place("data"), why));
        }
        self.typed_field = Some(field.number);
        match field.number {
            4 => field.push_fixed("float_data", 4, &mut self.packed),
            5 => field.push_ints("int32_data", &mut self.numbers),
            7 => field.push_ints("int64_data", &mut self.numbers),
            10 => field.push_fixed("double_data", 8, &mut self.packed),
            11 => field.push_ints("uint64_data", &mut self.numbers),
            _ => {
                self.strings.push(field.chunk("string_data")?);
                Ok(())
            }
        }
    }
}
