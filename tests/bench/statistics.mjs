// Numbers about numbers, and who runs when. Pure functions; for Node and for pages.

/** The value below which the share `q` of `values` lies, between neighbours by a straight line. */
export function quantile(values, q) {
  if (values.length === 0) return NaN
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const below = Math.floor(at)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below)
}

/** The middle of the values, their spread and their number. */
export function summary(values) {
  return { median: quantile(values, 0.5), p10: quantile(values, 0.1), p90: quantile(values, 0.9), runs: values.length }
}

/** The geometric mean: twice as fast here and half as fast there is as fast. */
export function geomean(ratios) {
  return Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length)
}

/** How many runs of `estimateMs` fit into the budget, within the bounds. */
export function runsFor(estimateMs, { budgetMs, minRuns, maxRuns }) {
  const fitting = estimateMs > 0 ? Math.floor(budgetMs / estimateMs) : maxRuns
  return Math.max(minRuns, Math.min(maxRuns, fitting))
}

/**
 * The rounds in which contenders take turns: `counts[i]` runs of contender i, spread evenly over all rounds so that
 * what changes with time meets all of them. Who begins a round moves on by one each time.
 */
export function schedule(counts) {
  const rounds = Math.max(0, ...counts)
  return Array.from({ length: rounds }, (_, round) => {
    const due = counts.flatMap((count, at) => Math.floor(((round + 1) * count) / rounds) > Math.floor((round * count) / rounds) ? [at] : [])
    const first = due.length === 0 ? 0 : round % due.length
    return [...due.slice(first), ...due.slice(0, first)]
  })
}
