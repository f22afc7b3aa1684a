import { dropDevice, openDevice, type GpuChoice, type KnownDevice } from "./gpu.js"
import { Handle, type Instance } from "./instance.js"
import type { GpuDevice } from "./platform/platform.js"
import { debugText } from "./trace.js"
import type { EngineGpu, EngineModule } from "./wasm.js"

/** A device as the sessions of one instance of the engine share it. */
export interface SharedGpu extends KnownDevice {
  readonly engine: Handle<EngineGpu>
  isLost: boolean
}

interface Entry {
  instance: Instance<EngineModule>
  gpu: SharedGpu
}

const shared = new WeakMap<GpuDevice, Entry>()

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
  const onShader = (name: string, code: string) => debugText("wgsl", name, code)
  const engine = instance.use(module => module.EngineGpu.open(known.device, known.facts, onShader))
  const gpu: SharedGpu = { ...known, engine: new Handle(instance, engine), isLost: false }
  const lose = () => { gpu.isLost = true }
  known.device.lost.then(lose, lose)
  shared.set(known.device, { instance, gpu })
  return gpu
}
