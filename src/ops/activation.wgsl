// Functions of activations over `real`, which is f32 or vec4<f32>. No intermediate value leaves
// the range of f32: what a shader makes of infinities is up to the device.

// An odd rational function within 4e-7 of tanh, and 1 where tanh rounds to it.
fn tanh_of(x: real) -> real {
  let c = clamp(x, real(-7.9053111), real(7.9053111));
  let z = c * c;
  let p = (((((z * -2.76076847742355e-16 + 2.00018790482477e-13) * z - 8.60467152213735e-11) * z
    + 5.12229709037114e-8) * z + 1.48572235717979e-5) * z + 6.37261928875436e-4) * z
    + 4.89352455891786e-3;
  let q = ((z * 1.19825839466702e-6 + 1.18534705686654e-4) * z + 2.26843463243900e-3) * z
    + 4.89352518554385e-3;
  return select(c * (p / q), sign(x), abs(x) > real(9.0));
}

// An odd rational function within 5e-7 of erf, and 1 where erf rounds to it.
fn erf_of(x: real) -> real {
  let c = clamp(x, real(-4.0), real(4.0));
  let z = c * c;
  let p = (((((z * -2.72614225801306e-10 + 2.77068142495902e-8) * z - 2.10102402082508e-6) * z
    - 5.69250639462346e-5) * z - 7.34990630326855e-4) * z - 2.95459980854025e-3) * z
    - 1.60960333262415e-2;
  let q = (((z * -1.45660718464996e-5 - 2.13374055278905e-4) * z - 1.68282697438203e-3) * z
    - 7.37332916720468e-3) * z - 1.42647390514189e-2;
  return select(c * (p / q), sign(x), abs(x) >= real(4.0));
}

fn sigmoid_of(x: real) -> real {
  return 1.0 / (1.0 + exp(-max(x, real(-87.0))));
}

// log(1 + e) for e from 0 to 1 as 2 * atanh(e / (2 + e)): 1 + e has lost the digits of a small e.
fn log1p_of(e: real) -> real {
  let s = e / (e + 2.0);
  let z = s * s;
  let series = (((((z / 13.0 + 1.0 / 11.0) * z + 1.0 / 9.0) * z + 1.0 / 7.0) * z + 0.2) * z
    + 1.0 / 3.0) * z + 1.0;
  return 2.0 * s * series;
}

// log(1 + exp(x))
fn softplus_of(x: real) -> real {
  return max(x, real(0.0)) + log1p_of(exp(-min(abs(x), real(87.0))));
}

// tanh(log(1 + exp(x))) as n / (n + 2) with n = e * (e + 2); beyond 20 it is 1.
fn mish_share_of(x: real) -> real {
  let e = exp(clamp(x, real(-87.0), real(20.0)));
  let n = e * (e + 2.0);
  return n / (n + 2.0);
}

// exp(x) - 1 for x below 0.
fn below_zero_of(x: real) -> real {
  return exp(clamp(x, real(-87.0), real(0.0))) - 1.0;
}
