//! Losing the device, in a process of its own.

use std::io::Write as _;
use std::sync::Arc;

use wgpu::compat::{self, AdapterChoice, FailureKind};

#[test]
fn a_lost_device_fails_and_the_next_one_works() {
    let choice = AdapterChoice::from_env();
    let first = match pollster::block_on(compat::open(&choice)) {
        Ok(gpu) => gpu,
        Err(failure) => {
            // Not through a macro, whose text is kept back when a test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED (1 test): no adapter: {failure}");
            return;
        }
    };
    first.destroy();
    let failed = pollster::block_on(first.checked(async {}));
    assert_eq!(failed.unwrap_err().kind, FailureKind::Lost);
    let second = pollster::block_on(compat::open(&choice)).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(pollster::block_on(second.checked(async { 1 })), Ok(1));
}

#[test]
fn an_adapter_that_is_not_there_is_a_failure() {
    let choice = AdapterChoice {
        name: Some("no adapter has this name".to_owned()),
        ..AdapterChoice::default()
    };
    let failure = pollster::block_on(compat::open(&choice)).err().unwrap();
    assert_eq!(failure.kind, FailureKind::NoAdapter);
}
