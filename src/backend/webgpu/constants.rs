//! Constants on the GPU, shared by the plans of a session: what the model brings, and what launches
//! make of it once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::convert::to_gpu;
use super::device::{Device, Usage};
use super::memory::{Gpu, GpuBuffer};
use crate::error::{Error, Result};
use crate::plan::{Buffer, Placed, Plan, Weight};

pub(super) struct Constants<D: Device> {
    /// By name.
    weights: RefCell<HashMap<String, Rc<GpuBuffer<D>>>>,
    kept: RefCell<HashMap<Rc<Recipe>, Rc<GpuBuffer<D>>>>,
}

/// How a buffer was made from constants that every plan has: equal recipes make equal buffers.
#[derive(PartialEq, Eq, Hash)]
struct Recipe(Vec<Made>);

/// One launch that wrote it.
#[derive(PartialEq, Eq, Hash)]
struct Made {
    code: Arc<str>,
    params: Vec<u32>,
    grid: [u32; 3],
    /// Which of the bindings the buffer is.
    binding_idx: usize,
    reads: Vec<Ingredient>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Ingredient {
    Weight(String),
    Made(Rc<Recipe>),
}

impl<D: Device> Default for Constants<D> {
    fn default() -> Constants<D> {
        Constants {
            weights: RefCell::default(),
            kept: RefCell::default(),
        }
    }
}

impl<D: Device> Constants<D> {
    pub fn holds(&self, name: &str) -> bool {
        self.weights.borrow().contains_key(name)
    }

    /// The buffers that are written once. Launches that a plan before has run leave the setup.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn kept(&self, gpu: &Rc<Gpu<D>>, plan: &mut Plan) -> Result<Vec<Rc<GpuBuffer<D>>>> {
        let recipes = recipes(plan);
        let mut known = self.kept.borrow_mut();
        let mut is_new = vec![false; plan.kept.len()];
        let mut buffers = Vec::new();
        for (idx, recipe) in recipes.into_iter().enumerate() {
            let found = recipe.as_ref().and_then(|recipe| known.get(recipe));
            let buffer = match found {
                Some(buffer) => buffer.clone(),
                None => {
                    is_new[idx] = true;
                    Rc::new(gpu.buffer(plan.kept[idx], Usage::Storage)?)
                }
            };
            if let (Some(recipe), true) = (recipe, is_new[idx]) {
                known.insert(recipe, buffer.clone());
            }
            buffers.push(buffer);
        }
        plan.setup.retain(|placed| {
            let mut buffers = placed.buffers.iter();
            buffers.any(|buffer| matches!(buffer, Buffer::Kept(idx) if is_new[*idx]))
        });
        Ok(buffers)
    }

    /// The buffers of the weights that something reads, uploaded where they are not there yet.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `INVALID_INPUT` for an integer beyond 32 bits.
    pub fn weights(
        &self,
        gpu: &Rc<Gpu<D>>,
        plan: &Plan,
        setup: &[Placed],
    ) -> Result<Vec<Option<Rc<GpuBuffer<D>>>>> {
        let weights = plan.weights.iter().enumerate().map(|(idx, weight)| {
            let buffer = Buffer::Weight(idx);
            let is_read = setup.iter().any(|placed| placed.buffers.contains(&buffer));
            // What later plans may ask for has to be here: its elements will be forgotten.
            if is_read || weight.is_shared || plan.reads(buffer) {
                self.weight(gpu, weight).map(Some)
            } else {
                Ok(None)
            }
        });
        weights.collect()
    }

    fn weight(&self, gpu: &Rc<Gpu<D>>, weight: &Weight) -> Result<Rc<GpuBuffer<D>>> {
        let mut known = self.weights.borrow_mut();
        if weight.is_shared
            && let Some(buffer) = known.get(&weight.name)
        {
            return Ok(buffer.clone());
        }
        let place = |error: Error| error.within(&weight.name);
        if weight.tensor.is_forgotten() {
            return Err(Error::internal(&weight.name, "its elements are forgotten"));
        }
        let bytes = to_gpu(&weight.tensor, weight.storage).map_err(place)?;
        let buffer = Rc::new(gpu.buffer(weight.size_bytes(), Usage::Storage)?);
        if !bytes.is_empty() {
            gpu.device.write_buffer(&buffer.buffer, &bytes);
        }
        if weight.is_shared {
            known.insert(weight.name.clone(), buffer.clone());
        }
        Ok(buffer)
    }
}

/// How each kept buffer is made; `None` where constants of this plan alone go into it.
fn recipes(plan: &Plan) -> Vec<Option<Rc<Recipe>>> {
    let mut making: Vec<Option<Vec<Made>>> = plan.kept.iter().map(|_| Some(Vec::new())).collect();
    let mut finished: Vec<Option<Rc<Recipe>>> = plan.kept.iter().map(|_| None).collect();
    for placed in &plan.setup {
        let launch = &placed.launch;
        let bound = || launch.bindings.iter().zip(&placed.buffers);
        let mut reads = Some(Vec::new());
        for (_, buffer) in bound().filter(|(binding, _)| !binding.writes) {
            let ingredient = match buffer {
                Buffer::Weight(idx) => {
                    let weight = &plan.weights[*idx];
                    weight
                        .is_shared
                        .then(|| Ingredient::Weight(weight.name.clone()))
                }
                // Whoever reads it has it whole.
                Buffer::Kept(idx) => {
                    if let Some(made) = making[*idx].take() {
                        finished[*idx] = Some(Rc::new(Recipe(made)));
                    }
                    finished[*idx].clone().map(Ingredient::Made)
                }
                Buffer::Slot(_) => None,
            };
            reads = reads.zip(ingredient).map(|(mut reads, ingredient)| {
                reads.push(ingredient);
                reads
            });
        }
        for (binding_idx, (_, buffer)) in bound().enumerate().filter(|(_, (b, _))| b.writes) {
            let Buffer::Kept(idx) = buffer else { continue };
            let made = reads.clone().map(|reads| Made {
                code: launch.code.clone(),
                params: launch.params.clone(),
                grid: launch.grid,
                binding_idx,
                reads,
            });
            // A buffer that is written again after it was read has no simple recipe.
            let before = making[*idx].take();
            finished[*idx] = None;
            making[*idx] = before.zip(made).map(|(mut before, made)| {
                before.push(made);
                before
            });
        }
    }
    let pairs = making.into_iter().zip(finished);
    pairs
        .map(|(making, finished)| {
            let last = making.map(|made| Rc::new(Recipe(made)));
            finished.or(last)
        })
        .collect()
}
