//! `engine.wasm`: sessions and what they say of themselves.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use bytes::Bytes;
use js_sys::{Array, Function, Map, Object, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use super::convert::{error_to_js, set, sizes_from_js, tensors_from_js, tensors_to_js};
use super::device::WebDevice;
use super::differ::observed_to_js;
use super::gpu::{EngineGpu, check_fetch, feeds_from_js, fetched_to_js};
use super::rows::rows_to_js;
use crate::backend::webgpu::{Device, Feed, Location};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, text};
use crate::inspect::{Port, summary};
use crate::model::Model;
use crate::model::onnx::{MapExternal, external_locations, read};
use crate::session::{Adapter, GpuSession, Observed, Options, Plan, Provider, Session};
use crate::tensor::{DType, Dim, Fact};
use crate::trace;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsOptions {
    execution_providers: Option<Vec<String>>,
    strict: bool,
    adapter: JsAdapter,
    observes: bool,
    batch_axis: Option<usize>,
    rebatch: bool,
    free_dimension_overrides: BTreeMap<String, i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsAdapter {
    present: bool,
    software: bool,
    description: String,
}

#[derive(Serialize)]
struct JsPlacement {
    node: String,
    op: String,
    backend: &'static str,
    kernel: String,
    reason: String,
    bytes: u64,
}

#[derive(Serialize)]
struct JsNodeTime {
    node: String,
    op: String,
    kernel: &'static str,
    ms: f64,
}

/// Turns debug switches on, separated by commas, and all others off; `sink` is told the name of a
/// switch and what there is to tell.
#[wasm_bindgen(js_name = setDebug)]
pub fn set_debug(switches: &str, sink: Function) -> Result<(), JsValue> {
    let tell = move |name: &'static str, text: &str| {
        // What the listener throws is its own affair.
        let _ = sink.call2(&JsValue::UNDEFINED, &name.into(), &text.into());
    };
    trace::enable(switches, Box::new(tell)).map_err(error_to_js)
}

/// Where a model's external data is: relative locations, checked against leaving the folder.
#[wasm_bindgen(js_name = externalDataLocations)]
pub fn external_data_locations(model: &[u8]) -> Result<Vec<String>, JsValue> {
    external_locations(model).map_err(error_to_js)
}

/// A model ready to run on `cpu` and, once it is opened there, on a GPU; planned for wonnx.
#[wasm_bindgen]
pub struct EngineSession {
    session: Session,
    gpu: RefCell<Option<Rc<GpuSession<WebDevice>>>>,
}

#[wasm_bindgen]
impl EngineSession {
    /// `external` maps locations to the bytes of external data.
    pub fn create(
        model: Uint8Array,
        external: &Map,
        options: JsValue,
    ) -> Result<EngineSession, JsValue> {
        let created = read_graph(&model, external).and_then(|graph| {
            let options = options_from_js(options)?;
            Session::create(graph, &options)
        });
        Ok(EngineSession {
            session: created.map_err(error_to_js)?,
            gpu: RefCell::default(),
        })
    }

    #[wasm_bindgen(getter)]
    pub fn inputs(&self) -> Array {
        ports_to_js(self.session.inputs())
    }

    #[wasm_bindgen(getter)]
    pub fn outputs(&self) -> Array {
        ports_to_js(self.session.outputs())
    }

    /// The backend that is asked first.
    #[wasm_bindgen(getter)]
    pub fn preferred(&self) -> String {
        self.session.preferred().name().into()
    }

    /// Where inputs of these sizes run: `{ backend, model? }`, with the prepared model for `wonnx`.
    pub fn plan(&self, input_dims: &Object) -> Result<JsValue, JsValue> {
        let mut sizes = HashMap::new();
        for entry in Object::entries(input_dims).iter() {
            let entry = Array::from(&entry);
            let name = entry.get(0).as_string().unwrap_or_default();
            let Some(dims) = sizes_from_js(&Array::from(&entry.get(1))) else {
                let error = Error::new(ErrorKind::InvalidInput, name, "a size is no size");
                return Err(error_to_js(error));
            };
            sizes.insert(name, dims);
        }
        let plan = Object::new();
        match self.session.plan(&sizes).map_err(error_to_js)? {
            Plan::Cpu => set(&plan, "backend", &Provider::Cpu.name().into()),
            Plan::Webgpu => set(&plan, "backend", &Provider::Webgpu.name().into()),
            Plan::Wonnx { model } => {
                set(&plan, "backend", &Provider::Wonnx.name().into());
                set(&plan, "model", &Uint8Array::from(&model[..]));
            }
        }
        Ok(plan.into())
    }

    /// Which inputs may be joined and run at once: `{ inputs, outputs, batch, size?, joinable,
    /// reason }`. For sessions made with `batchAxis`.
    pub fn rows(&self) -> Result<Object, JsValue> {
        let without = || {
            let why = "expected a session that was created with batchAxis";
            error_to_js(Error::new(ErrorKind::InvalidInput, "rows", why))
        };
        self.session.rows().map(rows_to_js).ok_or_else(without)
    }

    pub fn placement(&self) -> Result<JsValue, JsValue> {
        let rows = match &*self.gpu.borrow() {
            Some(gpu) => gpu.placement(),
            None => self.session.placement(),
        };
        let rows = rows.into_iter().map(|row| JsPlacement {
            node: row.node,
            op: row.op,
            backend: row.provider.name(),
            kernel: row.kernel,
            reason: row.reason,
            bytes: row.size_bytes,
        });
        Ok(serde_wasm_bindgen::to_value(&rows.collect::<Vec<_>>())?)
    }

    /// Throws what [`EngineSession::run`] would throw for these names, types and shapes, and
    /// gives the feeds in the shapes that the model declares.
    #[wasm_bindgen(js_name = checkFeeds)]
    pub fn check_feeds(&self, feeds: &JsValue) -> Result<JsValue, JsValue> {
        let feeds = tensors_from_js(feeds).and_then(|feeds| self.session.check_feeds(feeds));
        let feeds = feeds.map_err(error_to_js)?;
        Ok(tensors_to_js(
            feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)),
        ))
    }

    /// Runs on `cpu`.
    pub fn run(&self, feeds: &JsValue, fetches: Vec<String>) -> Result<JsValue, JsValue> {
        let names: Vec<&str> = fetches.iter().map(String::as_str).collect();
        let outputs = tensors_from_js(feeds).and_then(|feeds| self.session.run(feeds, &names));
        let outputs = outputs.map_err(error_to_js)?;
        Ok(tensors_to_js(names.into_iter().zip(&outputs)))
    }

    /// Makes the model ready for a device; compiles it if its shapes are known.
    #[wasm_bindgen(js_name = openGpu)]
    pub async fn open_gpu(&self, gpu: &EngineGpu) -> Result<(), JsValue> {
        let session = GpuSession::new(&self.session, gpu.gpu().clone()).map_err(error_to_js)?;
        session.compile().await.map_err(error_to_js)?;
        *self.gpu.borrow_mut() = Some(Rc::new(session));
        Ok(())
    }

    /// Throws where an output of these names cannot be on the GPU.
    #[wasm_bindgen(js_name = checkOnGpu)]
    pub fn check_on_gpu(&self, names: Vec<String>) -> Result<(), JsValue> {
        let gpu = self.on_gpu().map_err(error_to_js)?;
        let caps = gpu.gpu().device.capabilities();
        for port in self.session.outputs() {
            if names.contains(&port.name) {
                check_fetch(&port.name, port.fact.dtype, caps).map_err(error_to_js)?;
            }
        }
        Ok(())
    }

    /// Runs on the device. A feed is `{ type, dims, data }` or `{ type, dims, gpuBuffer }`, and so
    /// is an output, with a `gpuTensor` where its name is among `onGpu`.
    #[wasm_bindgen(js_name = runGpu)]
    pub async fn run_gpu(
        &self,
        feeds: JsValue,
        fetches: Vec<String>,
        #[wasm_bindgen(js_name = onGpu)] on_gpu: Vec<String>,
        timed: bool,
    ) -> Result<JsValue, JsValue> {
        let outputs = self.run_on_gpu(&feeds, &fetches, &on_gpu, timed).await;
        outputs.map(JsValue::from).map_err(error_to_js)
    }

    /// Every value that a node computes, in the order in which they were computed, on the device
    /// where the session is open on one and else on `cpu`: `{ value, node, op, backend, kernel,
    /// tensor }`. For sessions made with `observes`.
    pub async fn observe(&self, feeds: JsValue) -> Result<Array, JsValue> {
        let observed = self.observed(&feeds).await.map_err(error_to_js)?;
        Ok(observed.into_iter().map(observed_to_js).collect())
    }

    /// Bytes of GPU memory: `{ weights, activations, staging }`, as of the latest plan.
    pub fn memory(&self) -> Object {
        let gpu = self.gpu.borrow();
        let memory = gpu.as_ref().map(|gpu| gpu.memory()).unwrap_or_default();
        let sizes = [
            ("weights", memory.weights),
            ("activations", memory.activations),
            ("staging", memory.staging),
        ];
        record(
            sizes
                .into_iter()
                .map(|(name, bytes)| (name, JsValue::from(bytes as f64))),
        )
    }

    /// The latest plan as text; empty before there is one.
    #[wasm_bindgen(js_name = planText)]
    pub fn plan_text(&self) -> String {
        let gpu = self.gpu.borrow();
        gpu.as_ref().map(|gpu| gpu.plan_text()).unwrap_or_default()
    }

    /// How long the launches of the latest timed run took: `{ node, op, kernel, ms }`.
    pub fn timings(&self) -> Result<JsValue, JsValue> {
        let gpu = self.gpu.borrow();
        let times = gpu.as_ref().map(|gpu| gpu.timings()).unwrap_or_default();
        let rows = times.into_iter().map(|time| JsNodeTime {
            node: time.node,
            op: time.op,
            kernel: time.kernel,
            ms: time.elapsed_ns as f64 / 1e6,
        });
        Ok(serde_wasm_bindgen::to_value(&rows.collect::<Vec<_>>())?)
    }
}

impl EngineSession {
    fn on_gpu(&self) -> Result<Rc<GpuSession<WebDevice>>> {
        let gpu = self.gpu.borrow().clone();
        gpu.ok_or_else(|| Error::internal("session", "it was not opened on a device"))
    }

    /// Feeds as [`GpuSession::run`] takes them, in the shapes that the model declares.
    fn checked_for_gpu(
        &self,
        session: &GpuSession<WebDevice>,
        feeds: &JsValue,
    ) -> Result<HashMap<String, Feed<WebDevice>>> {
        let feeds = feeds_from_js(feeds, session.gpu().device.capabilities())?;
        let facts = feeds
            .iter()
            .map(|(name, feed)| (name.as_str(), feed.dtype(), feed.sizes()));
        let mut sizes = self.session.check(facts)?;
        let mut checked = HashMap::new();
        for (name, feed) in feeds {
            let sizes = sizes.remove(&name).expect("all feeds were checked");
            let feed = match feed {
                Feed::Host(tensor) => Feed::Host(tensor.reshaped(&sizes)?),
                Feed::Gpu { buffer, dtype, .. } => Feed::Gpu {
                    buffer,
                    dtype,
                    sizes,
                },
            };
            checked.insert(name, feed);
        }
        Ok(checked)
    }

    async fn observed(&self, feeds: &JsValue) -> Result<Vec<Observed>> {
        let gpu = self.gpu.borrow().clone();
        match gpu {
            Some(gpu) => gpu.observe(self.checked_for_gpu(&gpu, feeds)?).await,
            None => self.session.observe(tensors_from_js(feeds)?),
        }
    }

    async fn run_on_gpu(
        &self,
        feeds: &JsValue,
        fetches: &[String],
        on_gpu: &[String],
        timed: bool,
    ) -> Result<Object> {
        let session = self.on_gpu()?;
        let gpu = session.gpu();
        let checked = self.checked_for_gpu(&session, feeds)?;
        let wanted = fetches.iter().map(|name| {
            let location = if on_gpu.contains(name) {
                Location::Gpu
            } else {
                Location::Host
            };
            (name.as_str(), location)
        });
        let wanted: Vec<_> = wanted.collect();
        let fetched = session.run(checked, &wanted, timed).await?;
        let outputs = Object::new();
        for ((name, location), fetched) in wanted.into_iter().zip(fetched) {
            let output = fetched_to_js(gpu, fetched, location == Location::Gpu);
            set(&outputs, name, &output.map_err(|error| error.within(name))?);
        }
        Ok(outputs)
    }
}

/// The graph of a model as text, large constants cut short: as read (`model`), with inferred
/// shapes and types (`graph`), or prepared (`passes`).
#[wasm_bindgen(js_name = modelText)]
pub fn model_text(
    model: Uint8Array,
    external: &Map,
    options: JsValue,
    stage: &str,
) -> Result<String, JsValue> {
    let text = read_graph(&model, external).and_then(|mut graph| {
        let options = options_from_js(options)?;
        crate::session::advance(&mut graph, &options, stage)?;
        Ok(text::print_short(&graph))
    });
    text.map_err(error_to_js)
}

/// What a model says about itself: `{ irVersion, producer, opsets, metadata, inputs, outputs, ops,
/// parameters }`.
#[wasm_bindgen]
pub fn inspect(model: Uint8Array, external: &Map) -> Result<JsValue, JsValue> {
    let summary = summary(&read_model(&model, external).map_err(error_to_js)?);
    let producer = format!(
        "{} {}",
        summary.meta.producer_name, summary.meta.producer_version
    );
    let inspection = Object::new();
    set(
        &inspection,
        "irVersion",
        &(summary.meta.ir_version as f64).into(),
    );
    set(&inspection, "producer", &producer.trim().into());
    let opsets = summary.opsets.iter();
    let opsets = opsets.map(|(domain, &version)| (domain.as_str(), JsValue::from(version as f64)));
    set(&inspection, "opsets", &record(opsets));
    let properties = summary.meta.properties.iter();
    let properties = properties.map(|(key, text)| (key.as_str(), JsValue::from(text.as_str())));
    set(&inspection, "metadata", &record(properties));
    for (name, ports) in [("inputs", &summary.inputs), ("outputs", &summary.outputs)] {
        set(&inspection, name, &ports_to_js(ports));
    }
    let ops = summary.ops.iter();
    let ops = ops.map(|(op, &count)| (op.as_str(), JsValue::from(count as f64)));
    set(&inspection, "ops", &record(ops));
    set(
        &inspection,
        "parameters",
        &(summary.parameters as f64).into(),
    );
    Ok(inspection.into())
}

fn ports_to_js(ports: &[Port]) -> Array {
    ports
        .iter()
        .map(|port| value_info(&port.name, &port.fact))
        .collect()
}

pub(super) fn record<'a>(entries: impl Iterator<Item = (&'a str, JsValue)>) -> Object {
    let record = Object::new();
    for (name, value) in entries {
        set(&record, name, &value);
    }
    record
}

fn read_graph(model: &Uint8Array, external: &Map) -> Result<Graph> {
    Ok(read_model(model, external)?.graph)
}

fn read_model(model: &Uint8Array, external: &Map) -> Result<Model> {
    let mut files = HashMap::new();
    for entry in external.entries() {
        let entry = Array::from(&entry.unwrap_or(JsValue::UNDEFINED));
        let name = entry.get(0).as_string().unwrap_or_default();
        let Ok(bytes) = entry.get(1).dyn_into::<Uint8Array>() else {
            let why = "external data is no Uint8Array";
            return Err(Error::new(ErrorKind::InvalidInput, name, why));
        };
        files.insert(name, Bytes::from(bytes.to_vec()));
    }
    read(Bytes::from(model.to_vec()), &MapExternal(files))
}

fn options_from_js(options: JsValue) -> Result<Options> {
    let wrong = |why: String| Error::new(ErrorKind::InvalidInput, "options", why);
    let options: JsOptions = if options.is_undefined() || options.is_null() {
        JsOptions::default()
    } else {
        serde_wasm_bindgen::from_value(options).map_err(|error| wrong(error.to_string()))?
    };
    let provider = |name: &String| {
        let unknown = || {
            wrong(format!(
                "{name:?} is no execution provider; there are webgpu, wonnx and cpu"
            ))
        };
        Provider::from_name(name).ok_or_else(unknown)
    };
    let providers = options.execution_providers.as_ref();
    let providers = providers.map(|names| names.iter().map(provider).collect::<Result<Vec<_>>>());
    Ok(Options {
        providers: providers.transpose()?,
        strict: options.strict,
        adapter: Adapter {
            present: options.adapter.present,
            software: options.adapter.software,
            description: options.adapter.description,
        },
        observes: options.observes,
        batch_axis: options.batch_axis,
        rebatch: options.rebatch,
        free_dimensions: options.free_dimension_overrides,
    })
}

/// `{ name, type, shape }`; symbolic dimensions are strings.
fn value_info(name: &str, fact: &Fact) -> JsValue {
    let object = Object::new();
    let dim = |dim: &Dim| match dim {
        Dim::Size(size) => JsValue::from(*size as f64),
        Dim::Symbol(name) => JsValue::from(&**name),
        other => JsValue::from(other.to_string()),
    };
    let dims = fact.shape.iter().flat_map(|shape| shape.iter());
    let shape: Array = dims.map(dim).collect();
    set(&object, "name", &name.into());
    set(
        &object,
        "type",
        &fact.dtype.map_or("unknown", DType::long_name).into(),
    );
    set(&object, "shape", &shape);
    object.into()
}
