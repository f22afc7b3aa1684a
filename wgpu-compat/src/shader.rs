//! What wonnx's shader text needs before today's compilers take it.

use std::borrow::Cow;

/// wonnx writes minus infinity as the logarithm of nothing, which is refused as a constant.
const MINUS_INFINITY: &str = "log(Scalar())";
/// The lowest `f32` does the same in a search for the largest element.
const LOWEST: &str = "Scalar(-3.4028234e38)";

const INDEX: &str = "let gidx = global_id.x;";
const STORE: &str = "output_0.data[gidx]";
const GUARD: &str = "if (gidx >= arrayLength(&output_0.data)) { return; }";

/// The same shader in today's WGSL, without writes behind the end of the output.
///
/// Where wonnx rounds a launch up to whole workgroups without a check, the surplus invocations
/// write out of bounds, and an implementation may move such a write to the last element.
pub fn modernise(text: Cow<'_, str>) -> Cow<'_, str> {
    let mut text = text;
    if text.contains(MINUS_INFINITY) {
        text = text.replace(MINUS_INFINITY, LOWEST).into();
    }
    let checked = text.contains("(gidx <") || text.contains("( gidx <");
    if text.contains(STORE) && !checked {
        text = text.replacen(INDEX, &format!("{INDEX}\n{GUARD}"), 1).into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_infinity_becomes_the_lowest_number() {
        let text = modernise("var m: Scalar = log(Scalar());".into());
        assert_eq!(text, "var m: Scalar = Scalar(-3.4028234e38);");
    }

    #[test]
    fn a_store_without_a_check_gets_one() {
        let text = modernise("let gidx = global_id.x;\noutput_0.data[gidx] = 1;".into());
        assert_eq!(text, format!("{INDEX}\n{GUARD}\noutput_0.data[gidx] = 1;"));
    }

    #[test]
    fn a_store_with_a_check_stays_as_it_is() {
        let text = "let gidx = global_id.x; if (gidx < 8u) { output_0.data[gidx] = 1; }";
        assert!(matches!(modernise(text.into()), Cow::Borrowed(_)));
    }
}
