// From what was measured to the tables of the README. Pure functions.
import { markdown, short } from "../report.mjs"

const MIB = 2 ** 20

/** `reports` as `sentinel-worker bench --json` prints them. */
export function loadTable(reports) {
  const rows = reports.flatMap(({ transport, rows }) => rows.map(({ connections, idle, requests_per_s, latency_ms, avg_batch_size }) => [
    `${transport}, ${connections}${idle > 0 ? ` beside ${short(idle)} idle` : ""}`,
    short(requests_per_s), short(latency_ms.p50), short(latency_ms.p99), short(latency_ms.max), short(avg_batch_size),
  ]))
  return markdown(["connections", "requests per second", "p50 ms", "p99 ms", "longest ms", "batch"], rows)
}

export function overheadLine(reports) {
  const each = reports.filter(({ direct }) => direct !== undefined).map(({ transport, direct }) => `${transport} ${short(direct.overhead_p50_ms)} ms`)
  return each.length === 0 ? "" : `What the worker adds to a direct call of the model, at the median: ${each.join(", ")}.`
}

export function idleLine(reports) {
  const idle = reports.map(report => report.idle).find(each => each !== undefined)
  if (idle === undefined) return ""
  const lost = idle.lost === 0 ? "none was lost" : `${idle.lost} were lost`
  return `${short(idle.connections)} idle connections take ${short((idle.resident_bytes_after - idle.resident_bytes_before) / MIB)} MiB of the worker's memory, ${short(idle.bytes_per_connection / 1024)} KiB each; ${lost}.`
}

export function soakLine(soak) {
  if (soak === undefined) return ""
  const { row, samples, bytes_per_s, is_flat } = soak
  const [first, last] = [samples.at(Math.floor(samples.length / 2)), samples.at(-1)].map(({ resident_bytes }) => short(resident_bytes / MIB))
  const errors = Object.entries(row.errors).map(([code, n]) => `${short(n)} ${code}`).join(", ")
  const trend = is_flat === undefined || is_flat === null ? "" : `, which is ${is_flat ? "flat" : "growth"} (${bytes_per_s >= 0 ? "+" : "−"}${short(Math.abs(bytes_per_s))} bytes per second)`
  return `${short(samples.at(-1).at_s / 60)} minutes at full load: ${short(row.n_requests)} requests, ${errors === "" ? "no errors" : errors}; memory from the middle to the end: ${first} to ${last} MiB${trend}.`
}

export function report({ date, command, device, reports, soak }) {
  return [
    `${device.cpu}, ${device.cores} cores, which the worker and the bench share; a model that adds 1 to 16 numbers, on \`cpu\`. ${date.slice(0, 10)}, \`${command}\`.`,
    loadTable(reports),
    overheadLine(reports),
    idleLine(reports),
    soakLine(soak),
  ].filter(text => text !== "").join("\n\n")
}
