//! Slots for values by the time they live (a greedy best fit, as in TensorFlow Lite's arena
//! planner, with whole buffers instead of offsets: WebGPU forbids reading one part of a buffer
//! while writing another).

/// When a buffer is needed: from the first step to the last one, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub size_bytes: u64,
    pub first: usize,
    pub last: usize,
}

/// The slot of each buffer, and the sizes of the slots.
pub(super) fn assign(lives: &[Life]) -> (Vec<usize>, Vec<u64>) {
    let mut by_start: Vec<usize> = (0..lives.len()).collect();
    by_start.sort_by_key(|&idx| lives[idx].first);
    let mut slots: Vec<u64> = Vec::new();
    let mut free_after: Vec<usize> = Vec::new();
    let mut slot_of = vec![0; lives.len()];
    for idx in by_start {
        let life = lives[idx];
        let is_free = |slot: &usize| free_after[*slot] < life.first;
        let free: Vec<usize> = (0..slots.len()).filter(is_free).collect();
        // The smallest that is large enough, or else the largest, which then grows.
        let fits = free.iter().filter(|&&slot| slots[slot] >= life.size_bytes);
        let best = fits.min_by_key(|&&slot| slots[slot]);
        let best = best.or_else(|| free.iter().max_by_key(|&&slot| slots[slot]));
        let slot = best.copied().unwrap_or_else(|| {
            slots.push(0);
            free_after.push(0);
            slots.len() - 1
        });
        slots[slot] = slots[slot].max(life.size_bytes);
        free_after[slot] = life.last;
        slot_of[idx] = slot;
    }
    (slot_of, slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(size_bytes: u64, first: usize, last: usize) -> Life {
        Life {
            size_bytes,
            first,
            last,
        }
    }

    #[test]
    fn a_chain_takes_two_slots() {
        let lives: Vec<Life> = (0..10).map(|step| life(64, step, step + 1)).collect();
        let (slot_of, slots) = assign(&lives);
        assert_eq!(slots, [64, 64]);
        assert_eq!(slot_of[..4], [0, 1, 0, 1]);
    }

    #[test]
    fn what_lives_together_is_apart() {
        let lives = [
            life(16, 0, 5),
            life(32, 1, 2),
            life(16, 3, 5),
            life(48, 4, 4),
        ];
        let (slot_of, _) = assign(&lives);
        for (a, one) in lives.iter().enumerate() {
            for (b, other) in lives.iter().enumerate().skip(a + 1) {
                let together = one.first <= other.last && other.first <= one.last;
                assert!(!together || slot_of[a] != slot_of[b], "{a} and {b}");
            }
        }
    }
}
