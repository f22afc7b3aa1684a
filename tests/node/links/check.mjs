// What the tests of the ways to workers share.
import assert from "node:assert/strict"

export const never = () => new AbortController().signal

/** What has been promised has happened. */
export const turn = () => new Promise(resolve => setImmediate(resolve))

export async function until(condition) {
  while (!condition()) await turn()
}

/** A request of three numbers, unless said otherwise. */
export const requestOf = Tensor => (changes = {}) => ({
  inputs: { x: new Tensor("float32", [1, 2, 3], [3]) },
  outputNames: undefined,
  timeoutMs: Infinity,
  priority: 0,
  signal: never(),
  ...changes,
})

/** `promise` fails with a `LinkError` of this blame and code. */
export async function assertLinkError(promise, blame, code, message = /./) {
  await assert.rejects(promise, error => {
    assert.deepEqual([error.name, error.blame, error.code], ["SentinelError", blame, code], String(error.stack))
    assert.match(error.message, message)
    return true
  })
}
