//! What goes wrong on a `GPUDevice` and is told elsewhere than where it was asked for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::futures::{JsFuture, spawn_local};
use js_sys::{Array, JsNullable, Promise};
use wasm_bindgen::prelude::*;
use web_sys::{GpuDevice, GpuError, GpuErrorFilter};

use super::convert::field;
use crate::error::{Error, ErrorKind, Result};

const AT: &str = "webgpu";

/// Opened in this order, so closed in the other.
const SCOPES: [(GpuErrorFilter, ErrorKind); 3] = [
    (GpuErrorFilter::Internal, ErrorKind::Internal),
    (GpuErrorFilter::OutOfMemory, ErrorKind::OutOfMemory),
    (GpuErrorFilter::Validation, ErrorKind::Internal),
];

#[derive(Default)]
struct Seen {
    first: RefCell<Option<Error>>,
    lost: RefCell<Option<String>>,
}

/// Listens to a device as long as it lives.
pub struct Failures {
    device: GpuDevice,
    seen: Rc<Seen>,
    on_error: Closure<dyn FnMut(JsValue)>,
    /// Scopes of how many callers are open. They are a stack: of two callers, the first to close
    /// closes those of the other.
    n_open: Cell<u32>,
    /// What one of several callers caught: it may belong to another.
    caught: RefCell<Option<Error>>,
}

impl Failures {
    pub fn listen(device: &GpuDevice) -> Failures {
        let seen = Rc::new(Seen::default());
        let lost = device.lost();
        let weak = Rc::downgrade(&seen);
        // A promise holds its callbacks until it is settled, so this does not end with the device.
        spawn_local(async move {
            let Ok(info) = JsFuture::from(lost).await else {
                return;
            };
            if let Some(seen) = weak.upgrade() {
                let message = text(&info, "message");
                let why = format!("the device was lost ({}): {message}", text(&info, "reason"));
                seen.lost.borrow_mut().get_or_insert(why);
            }
        });
        let first = seen.clone();
        let on_error = Closure::new(move |event: JsValue| {
            let error = field(&event, "error");
            first.first.borrow_mut().get_or_insert_with(|| told(&error));
        });
        let listener = on_error.as_ref().unchecked_ref();
        // Where a device is no event target, it has at least the attribute.
        if device
            .add_event_listener_with_callback("uncapturederror", listener)
            .is_err()
        {
            device.set_onuncapturederror(Some(listener));
        }
        Failures {
            device: device.clone(),
            seen,
            on_error,
            n_open: Cell::new(0),
            caught: RefCell::default(),
        }
    }

    pub fn open(&self) {
        self.n_open.set(self.n_open.get() + 1);
        for (filter, _) in SCOPES {
            self.device.push_error_scope(filter);
        }
    }

    /// # Errors
    /// As [`crate::backend::webgpu::Device::close_scopes`].
    pub async fn close(&self) -> Result<()> {
        let popped = SCOPES.iter().rev().map(|&(_, kind)| {
            let promise: Promise<JsNullable<GpuError>> = self.device.pop_error_scope();
            (kind, JsFuture::from(promise))
        });
        // All are popped before the first is awaited, so that no later work falls into them.
        let popped: Vec<_> = popped.collect();
        self.n_open.set(self.n_open.get() - 1);
        let mut first = None;
        for (kind, error) in popped {
            // A promise is refused when the device is gone, which is told by itself.
            let Ok(error) = error.await else { continue };
            let error = JsValue::from(error);
            if !error.is_null() {
                first.get_or_insert(Error::new(kind, AT, text(&error, "message")));
            }
        }
        let mut caught = self.caught.borrow_mut();
        let first = first.or_else(|| caught.clone());
        *caught = first.clone().filter(|_| self.n_open.get() > 0);
        drop(caught);
        match self.lost().or(first) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn lost(&self) -> Option<Error> {
        let why = self.seen.lost.borrow().clone()?;
        Some(Error::new(ErrorKind::DeviceLost, AT, why))
    }

    /// As [`crate::backend::webgpu::Device::failure`].
    pub fn failure(&self) -> Option<Error> {
        self.lost().or_else(|| self.seen.first.borrow_mut().take())
    }

    /// Keeps what a call threw.
    pub fn keep(&self, thrown: &JsValue) {
        let mut first = self.seen.first.borrow_mut();
        first.get_or_insert_with(|| told(thrown));
    }

    /// The error for a promise that was refused: a lost device explains everything.
    pub async fn refused(&self, thrown: JsValue, what: &str) -> Error {
        // The promise of the loss may be settled and not yet looked at.
        let lost = JsValue::from(self.device.lost());
        let race = Promise::race(&Array::of2(&lost, &JsValue::UNDEFINED));
        if let Ok(info) = JsFuture::from(race).await
            && !info.is_undefined()
        {
            let why = format!("the device was lost: {}", text(&info, "message"));
            self.seen.lost.borrow_mut().get_or_insert(why);
        }
        let why = || format!("{what}: {}", text(&thrown, "message"));
        // What went wrong before may be why, and is told only once.
        self.failure().unwrap_or_else(|| {
            // Nobody here unmaps or destroys a buffer that is being mapped: the device did.
            let is_abort = text(&thrown, "name") == "AbortError";
            let lost = is_abort.then(|| Error::new(ErrorKind::DeviceLost, AT, why()));
            lost.unwrap_or_else(|| Error::internal(AT, why()))
        })
    }
}

impl Drop for Failures {
    fn drop(&mut self) {
        let listener = self.on_error.as_ref().unchecked_ref();
        let removed = self
            .device
            .remove_event_listener_with_callback("uncapturederror", listener);
        if removed.is_err() {
            self.device.set_onuncapturederror(None);
        }
    }
}

/// A `GPUError` or anything thrown.
fn told(error: &JsValue) -> Error {
    let class = text(&field(error, "constructor"), "name");
    let kind = if class == "GPUOutOfMemoryError" {
        ErrorKind::OutOfMemory
    } else {
        ErrorKind::Internal
    };
    Error::new(kind, AT, text(error, "message"))
}

pub fn text(value: &JsValue, name: &str) -> String {
    field(value, name).as_string().unwrap_or_default()
}
