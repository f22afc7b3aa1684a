// What is left of x after whole steps of y towards 0, with the sign of x.
fn remainder_of(x: in0, y: in1) -> in0 {
  let a = abs(x);
  let b = abs(y);
  let rest = a - b * trunc(a / b);
  // The quotient may have been rounded across a whole number.
  let raised = select(rest, rest + b, rest < in0(0.0));
  let lowered = select(raised, raised - b, raised >= b);
  return sign(x) * select(lowered, a, a < b);
}
