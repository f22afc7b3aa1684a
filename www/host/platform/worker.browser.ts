import { serve } from "../batch/worker.js"

serve({
  post: (message, transfer) => { self.postMessage(message, { transfer }) },
  listen(receive) {
    self.onmessage = ({ data }) => { receive(data) }
  },
  async holdLock() {
    const { locks } = self.navigator
    if (locks === undefined) return undefined
    const name = `sentinel-worker-${crypto.randomUUID()}`
    // A page without an origin has locks and may not use them.
    return new Promise(resolve => {
      const forLife = () => {
        resolve(name)
        return new Promise(() => {})
      }
      locks.request(name, forLife).catch(() => { resolve(undefined) })
    })
  },
})
