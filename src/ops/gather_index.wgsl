// A place on an axis of `size`: negative numbers count from its end, and none leads outside.
fn index(number: i32, size: u32) -> u32 {
  let n = i32(size);
  return u32(max(min(select(number, number + n, number < 0), n - 1), 0));
}
