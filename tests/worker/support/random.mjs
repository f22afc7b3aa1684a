// Random numbers that a seed repeats.

/** The seed of this run: `SENTINEL_SEED`, or another one each time. */
export const seedOfRun = () => Number(process.env.SENTINEL_SEED ?? Math.floor(Math.random() * 2 ** 32))

/** A function of numbers from 0 to below 1: mulberry32. */
export function randomOf(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
