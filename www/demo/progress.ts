import { bar, statusLine, type Paint } from "../cli/terminal.js"

const BAR_WIDTH = 24
const INTERVAL_MS = 80

/** A bar on the terminal's last line that is drawn a few times a second; nothing where the output goes elsewhere. */
export class ProgressBar {
  readonly #show: (text: string) => void
  readonly #paint: Paint
  #nextMs = 0

  constructor(stream: NodeJS.WriteStream, paint: Paint) {
    this.#show = statusLine(stream)
    this.#paint = paint
  }

  update(share: number, text: string): void {
    const nowMs = performance.now()
    if (nowMs < this.#nextMs) return
    this.#nextMs = nowMs + INTERVAL_MS
    this.#show(`  ${this.#paint.accent(bar(share, BAR_WIDTH))}  ${text}`)
  }

  clear(): void {
    this.#show("")
  }
}
