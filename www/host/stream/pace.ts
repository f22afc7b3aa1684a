/**
 * Lets frames pass at most `maxFps` times a second on average: the returned function says whether one captured at
 * that time may. A frame that comes late does not delay those after it, so 30 a second thin out to 20 evenly enough.
 */
export function createPace(maxFps: number): (capturedMs: number) => boolean {
  const intervalMs = 1000 / maxFps
  let dueMs = -Infinity
  return capturedMs => {
    if (capturedMs < dueMs) return false
    const isPunctual = capturedMs - dueMs <= intervalMs
    dueMs = (isPunctual ? dueMs : capturedMs) + intervalMs
    return true
  }
}
