//! What the targets share.

use sentinel_inference::wire::Limits;

/// Small, so that inputs of a fuzzer's size come near them.
pub const LIMITS: Limits = Limits {
    max_message_bytes: 4096,
    max_header_bytes: 2048,
    max_tensors: 8,
    max_rank: 6,
    max_elements: 1 << 16,
};
