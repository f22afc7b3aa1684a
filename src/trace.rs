//! Switches that make the engine tell what it does: `graph,passes,plan,wgsl,time`.

use std::cell::RefCell;

use crate::error::{Error, ErrorKind, Result};

/// What can be told. The names are those of `SENTINEL_DEBUG`, `init({ debug })` and `?debug=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// A model as it was read, with shapes and types.
    Graph,
    /// The same after the passes.
    Passes,
    /// What runs where, in which buffers.
    Plan,
    /// The shaders that are compiled.
    Wgsl,
    /// How long each launch took.
    Time,
}

const SWITCHES: &[(&str, Switch)] = &[
    ("graph", Switch::Graph),
    ("passes", Switch::Passes),
    ("plan", Switch::Plan),
    ("wgsl", Switch::Wgsl),
    ("time", Switch::Time),
];

/// Takes what is told, by the name of its switch.
pub type Sink = Box<dyn Fn(&'static str, &str)>;

#[derive(Default)]
struct Trace {
    on: Vec<Switch>,
    sink: Option<Sink>,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

/// Turns on the switches that `names` lists, separated by commas, and all others off.
///
/// # Errors
/// `INVALID_INPUT` for a name that is none, with those that there are.
pub fn enable(names: &str, sink: Sink) -> Result<()> {
    let named = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let on = named.map(|name| {
        let known = SWITCHES.iter().find(|(known, _)| *known == name);
        known.map(|(_, switch)| *switch).ok_or_else(|| {
            let known: Vec<&str> = SWITCHES.iter().map(|(name, _)| *name).collect();
            let why = format!("debug has the switches {}", known.join(", "));
            Error::new(ErrorKind::InvalidInput, name, why)
        })
    });
    let on = on.collect::<Result<Vec<Switch>>>()?;
    TRACE.replace(Trace {
        on,
        sink: Some(sink),
    });
    Ok(())
}

pub fn is_on(switch: Switch) -> bool {
    TRACE.with_borrow(|trace| trace.on.contains(&switch))
}

/// Tells what `text` gives, if the switch is on.
pub fn tell(switch: Switch, text: impl FnOnce() -> String) {
    if !is_on(switch) {
        return;
    }
    let text = text();
    let name = SWITCHES.iter().find(|(_, known)| *known == switch);
    let name = name.map_or("", |(name, _)| name);
    TRACE.with_borrow(|trace| {
        if let Some(sink) = &trace.sink {
            sink(name, &text);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn only_what_is_on_is_told() {
        let told = Rc::new(RefCell::new(Vec::new()));
        let heard = told.clone();
        let sink = move |name: &'static str, text: &str| {
            heard.borrow_mut().push(format!("{name}: {text}"));
        };
        enable("plan, time", Box::new(sink)).unwrap();
        tell(Switch::Plan, || "a plan".into());
        tell(Switch::Wgsl, || panic!("nobody asked for shaders"));
        assert_eq!(*told.borrow(), ["plan: a plan"]);
    }

    #[test]
    fn an_unknown_switch_is_refused_with_the_known_ones() {
        let error = enable("plan,speed", Box::new(|_, _| {})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "speed: debug has the switches graph, passes, plan, wgsl, time"
        );
    }
}
