import { dropDevice, openDevice, type GpuChoice, type KnownDevice } from "./gpu.js"
import { Handle, type Instance } from "./instance.js"
import type { GpuDevice } from "./platform/platform.js"
import type { EngineGpu, EngineModule } from "./wasm.js"

/** A device as the sessions of one instance of the engine share it. */
export interface SharedGpu extends KnownDevice {
  readonly engine: Handle<EngineGpu>
}

interface Entry {
  instance: Instance<EngineModule>
  gpu: SharedGpu
}

const shared = new WeakMap<GpuDevice, Entry>()

const alive = new Set<SharedGpu>()

/** What sessions and tensors of this package hold on all its devices at present. */
export function gpuMemory(): { buffers: number; bytes: number } {
  const total = { buffers: 0, bytes: 0 }
  for (const gpu of alive) {
    if (gpu.engine.fault !== undefined) continue
    const { buffers, bytes } = gpu.engine.use(engine => engine.memory())
    total.buffers += buffers
    total.bytes += bytes
  }
  return total
}

/** False once the device is lost, as far as it has told. */
export function isAlive(gpu: SharedGpu): boolean {
  return alive.has(gpu)
}

/** The device for a choice, with what the engine keeps on it: compiled shaders, and the count of its buffers. */
export async function openGpu(instance: Instance<EngineModule>, choice: GpuChoice): Promise<SharedGpu> {
  const known = await openDevice(choice)
  const entry = shared.get(known.device)
  if (entry === undefined || (!known.isOurs && entry.instance !== instance)) return share(instance, known)
  if (entry.instance === instance) return entry.gpu
  // Its buffers belong to an instance that a fault has stopped, so nobody gives them back.
  dropDevice(known)
  await known.device.lost
  return share(instance, await openDevice(choice))
}

function share(instance: Instance<EngineModule>, known: KnownDevice): SharedGpu {
  const engine = instance.use(module => module.EngineGpu.open(known.device, known.facts))
  const gpu: SharedGpu = { ...known, engine: new Handle(instance, engine) }
  alive.add(gpu)
  const lose = () => { alive.delete(gpu) }
  known.device.lost.then(lose, lose)
  shared.set(known.device, { instance, gpu })
  return gpu
}
