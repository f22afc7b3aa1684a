//! The module `wonnx.wasm`: prepared models on the host's WebGPU.

use wasm_bindgen::prelude::*;

use super::convert::{error_to_js, tensors_from_js, tensors_to_js};
use crate::backend::wonnx;

/// A prepared model on the GPU.
#[wasm_bindgen]
pub struct WonnxSession(wonnx::WonnxSession);

#[wasm_bindgen]
impl WonnxSession {
    /// `preparedModel` is what `EngineSession.plan` gave.
    pub async fn create(
        #[wasm_bindgen(js_name = preparedModel)] prepared_model: Vec<u8>,
    ) -> Result<WonnxSession, JsValue> {
        let session = wonnx::WonnxSession::create(&prepared_model).await;
        session.map(WonnxSession).map_err(error_to_js)
    }

    /// The adapter as far as the host tells, or an empty string.
    #[wasm_bindgen(getter)]
    pub fn adapter(&self) -> String {
        self.0.adapter()
    }

    /// All outputs by name, from all inputs by name.
    pub async fn run(&self, feeds: JsValue) -> Result<JsValue, JsValue> {
        let feeds = tensors_from_js(&feeds).map_err(error_to_js)?;
        let outputs = self.0.run(feeds).await.map_err(error_to_js)?;
        Ok(tensors_to_js(
            outputs.iter().map(|(name, tensor)| (name.as_str(), tensor)),
        ))
    }
}
