//! Activations as WGSL: what stands alone as an operator and what kernels apply to their results
//! before they write them.

/// An activation as an expression of `x`, both of type `real`; it may call the functions that
/// [`function`] brings. Missing parameters have ONNX's defaults and `""` is the identity.
/// `None` for what is no activation.
pub(super) fn expression(name: &str, params: &[f32]) -> Option<String> {
    if params.iter().any(|param| !param.is_finite()) {
        return None;
    }
    let param = |idx: usize, default: f32| literal(params.get(idx).copied().unwrap_or(default));
    Some(match name {
        "" => "x".to_owned(),
        "Clip" => {
            let low = params.first().copied().unwrap_or(f32::MIN);
            let high = params.get(1).copied().unwrap_or(f32::MAX);
            clip(low, high)
        }
        "Elu" => format!(
            "select({} * below_zero_of(x), x, x > real(0.0))",
            param(0, 1.0)
        ),
        "Exp" => "exp(x)".to_owned(),
        "Gelu" => "0.5 * x * (1.0 + erf_of(x * 0.70710678))".to_owned(),
        "GeluTanh" => {
            "0.5 * x * (1.0 + tanh_of(0.79788456 * (x + 0.044715 * x * x * x)))".to_owned()
        }
        "HardSigmoid" => format!(
            "clamp({} * x + {}, real(0.0), real(1.0))",
            param(0, 0.2),
            param(1, 0.5)
        ),
        "HardSwish" => "x * clamp(x / 6.0 + 0.5, real(0.0), real(1.0))".to_owned(),
        "LeakyRelu" => format!("select(x, {} * x, x < real(0.0))", param(0, 0.01)),
        "Mish" => "x * mish_share_of(x)".to_owned(),
        "Relu" => "max(x, real(0.0))".to_owned(),
        "Sigmoid" => "sigmoid_of(x)".to_owned(),
        "Softplus" => "softplus_of(x)".to_owned(),
        "Swish" => format!("x * sigmoid_of({} * x)", param(0, 1.0)),
        "Tanh" => "tanh_of(x)".to_owned(),
        _ => return None,
    })
}

/// `min(max(x, low), high)` without the bounds that bound nothing.
fn clip(low: f32, high: f32) -> String {
    let mut text = "x".to_owned();
    if low > f32::MIN {
        text = format!("max({text}, real({}))", literal(low));
    }
    if high < f32::MAX {
        text = format!("min({text}, real({}))", literal(high));
    }
    text
}

/// A finite number as WGSL writes it.
pub(super) fn literal(number: f32) -> String {
    assert!(number.is_finite(), "{number} has no literal in WGSL");
    if number.is_sign_negative() {
        return format!("({number:?})");
    }
    format!("{number:?}")
}

/// `fn activate(x: vec4<f32>) -> vec4<f32>` and what it needs, as a snippet for
/// [`Kernel`](crate::kernel::Kernel); `None` for what is no activation.
pub(super) fn snippet(name: &str, params: &[f32]) -> Option<String> {
    Some(function(
        "activate",
        &expression(name, params)?,
        "vec4<f32>",
    ))
}

/// `fn name(x: real) -> real` for an expression of `x`, the alias `real` and what it calls. One
/// shader takes one of these.
pub(super) fn function(name: &str, expression: &str, real: &str) -> String {
    let functions = if expression.contains("_of(") {
        include_str!("activation.wgsl")
    } else {
        ""
    };
    format!(
        "alias real = {real};\n{functions}fn {name}(x: real) -> real {{ return {expression}; }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_are_valid_for_both_types() {
        let all = [
            ("", &[][..]),
            ("Clip", &[-1.0, 6.0]),
            ("Clip", &[]),
            ("Elu", &[0.5]),
            ("Exp", &[]),
            ("Gelu", &[]),
            ("GeluTanh", &[]),
            ("HardSigmoid", &[]),
            ("HardSwish", &[]),
            ("LeakyRelu", &[-1e-30]),
            ("Mish", &[]),
            ("Relu", &[]),
            ("Sigmoid", &[]),
            ("Softplus", &[]),
            ("Swish", &[1.702]),
            ("Tanh", &[]),
        ];
        for ((name, params), real) in all
            .iter()
            .flat_map(|one| ["f32", "vec4<f32>"].map(|real| (one, real)))
        {
            let expression = expression(name, params).expect("it is an activation");
            let text = function("activate", &expression, real);
            if let Err(error) = naga::front::wgsl::parse_str(&text) {
                panic!("{name}: {}", error.emit_to_string(&text));
            }
        }
    }

    #[test]
    fn what_has_no_finite_parameters_is_refused() {
        assert_eq!(expression("LeakyRelu", &[f32::NAN]), None);
        assert_eq!(expression("Softmax", &[]), None);
        assert_eq!(
            expression("Clip", &[f32::MIN, 6.0]).as_deref(),
            Some("min(x, real(6.0))")
        );
    }
}
