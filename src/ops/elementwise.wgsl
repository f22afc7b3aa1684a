// Functions over `real`, which is f32 or vec4<f32>, of which WGSL promises a few digits only or
// whose plain formulas lose digits. They stand on log1p_of of the activations.

// log(1 + e) for any e; beyond the domain it is what log makes of it.
fn log1p_any_of(e: real) -> real {
  let is_small = (e >= real(0.0)) & (e <= real(1.0));
  return select(log(1.0 + e), log1p_of(clamp(e, real(0.0), real(1.0))), is_small);
}

// Near 1 the logarithm is small and an absolute error shows.
fn log_of(x: real) -> real {
  return select(log(x), log1p_of(clamp(x - 1.0, real(-0.3), real(0.3))), abs(x - 1.0) < real(0.3));
}

fn acosh_of(x: real) -> real {
  let t = x - 1.0;
  return log1p_any_of(t + sqrt(t) * sqrt(t + 2.0));
}

fn asinh_of(x: real) -> real {
  let a = abs(x);
  // Beyond 2^30 the root of a * a + 1 is a.
  let c = min(a, real(1073741824.0));
  let near = log1p_any_of(c + c * c / (1.0 + sqrt(c * c + 1.0)));
  return sign(x) * select(near, log(a) + 0.69314718, a > c);
}

fn atanh_of(x: real) -> real {
  let a = abs(x);
  return sign(x) * 0.5 * log1p_any_of(2.0 * a / (1.0 - a));
}

fn cosh_of(x: real) -> real {
  let a = abs(x);
  return 0.5 * exp(a) + 0.5 * exp(-a);
}

fn sinh_of(x: real) -> real {
  let a = abs(x);
  let z = x * x;
  let near = x * (1.0 + z / 6.0 * (1.0 + z / 20.0 * (1.0 + z / 42.0 * (1.0 + z / 72.0))));
  return select(near, sign(x) * (0.5 * exp(a) - 0.5 * exp(-a)), a > real(1.0));
}

// A polynomial for arguments up to tan(pi / 8), to which the rest is folded.
fn atan_of(x: real) -> real {
  let a = abs(x);
  let is_far = a > real(2.4142136);
  let is_middle = (a > real(0.41421356)) & !is_far;
  let folded = select(a, (a - 1.0) / (a + 1.0), is_middle);
  let t = select(folded, -1.0 / max(a, real(1.0)), is_far);
  let z = t * t;
  let p = (((z * 0.0805374449538 - 0.138776856032) * z + 0.199777106478) * z - 0.333329491539) * z;
  let base = select(select(real(0.0), real(0.78539816), is_middle), real(1.5707963), is_far);
  return sign(x) * (base + (t + t * p));
}

// asin for arguments from 0 to 1/2, given with its square.
fn asin_near(s: real, z: real) -> real {
  let p = (((z * 0.042163199048 + 0.024181311049) * z + 0.045470025998) * z + 0.074953002686) * z
    + 0.16666752422;
  return s + s * z * p;
}

fn asin_of(x: real) -> real {
  let a = abs(x);
  let z = 0.5 * (1.0 - a);
  let far = 1.5707963 - 2.0 * asin_near(sqrt(z), z);
  return sign(x) * select(asin_near(a, a * a), far, a > real(0.5));
}

fn acos_of(x: real) -> real {
  let a = abs(x);
  let z = 0.5 * (1.0 - a);
  let far = 2.0 * asin_near(sqrt(z), z);
  let signed_far = select(far, 3.1415927 - far, x < real(0.0));
  return select(1.5707963 - sign(x) * asin_near(a, a * a), signed_far, a > real(0.5));
}

// The distance of x from its nearest multiple of pi / 2, whose number is k. The parts of pi / 2 are
// short, so that their products with k up to 2^13 are exact.
fn from_quarter(x: real, k: real) -> real {
  return ((x - k * 1.5703125) - k * 4.837512969970703e-4) - k * 7.549789948768648e-8;
}

fn sin_near(r: real) -> real {
  let z = r * r;
  return r + r * z * ((z * -1.9515295891e-4 + 8.3321608736e-3) * z - 0.16666654611);
}

fn cos_near(r: real) -> real {
  let z = r * r;
  let p = (z * 2.443315711809948e-5 - 1.388731625493765e-3) * z + 4.166664568298827e-2;
  return 1.0 - 0.5 * z + z * z * p;
}

// sin(r + quarter * pi / 2)
fn turned(r: real, quarter: real) -> real {
  let half = quarter * 0.5;
  let is_odd = half != floor(half);
  let magnitude = select(sin_near(r), cos_near(r), is_odd);
  let turns = quarter * 0.25;
  return select(magnitude, -magnitude, turns - floor(turns) >= real(0.5));
}

fn sin_of(x: real) -> real {
  let k = round(x * 0.63661977);
  return turned(from_quarter(x, k), k);
}

fn cos_of(x: real) -> real {
  let k = round(x * 0.63661977);
  return turned(from_quarter(x, k), k + 1.0);
}

fn tan_of(x: real) -> real {
  let k = round(x * 0.63661977);
  let r = from_quarter(x, k);
  return turned(r, k) / turned(r, k + 1.0);
}
