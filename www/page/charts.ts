const SVG = "http://www.w3.org/2000/svg"
/** The drawing is stretched to the room it has; strokes keep their width. */
const [WIDTH, HEIGHT] = [300, 100]

/** One bar: what it stands for, and how much. */
export interface Bar {
  label: string
  value: number
}

/** How much time a chart shows: at least, so that the first values are not stretched, and at most. */
export interface Span {
  tickMs: number
  leastSeconds: number
  mostSeconds: number
}

/** A value over time: the newest at the right edge, the scale as large as the largest that is shown. */
export class LineChart {
  readonly #frame: Frame
  readonly #span: Span
  readonly #line = svg("path", { class: "line" })
  readonly #area = svg("path", { class: "area" })
  #values: number[] = []

  constructor(host: HTMLElement, span: Span) {
    this.#span = span
    this.#frame = new Frame(host)
    this.#frame.drawing.append(this.#area, this.#line)
    this.clear()
  }

  push(value: number, text: string): void {
    this.#values.push(value)
    if (this.#values.length > (this.#span.mostSeconds * 1000) / this.#span.tickMs) this.#values.shift()
    this.#frame.setValue(text)
    this.#draw()
  }

  clear(): void {
    this.#values = []
    this.#frame.setValue("–")
    this.#draw()
  }

  #draw(): void {
    const most = niceCeiling(Math.max(1, ...this.#values))
    this.#frame.setMost(most)
    const { tickMs, leastSeconds } = this.#span
    const seconds = Math.max(leastSeconds, (this.#values.length * tickMs) / 1000)
    this.#frame.setEnds(`${seconds.toFixed(0)} s ago`, "now")
    const step = WIDTH / ((seconds * 1000) / tickMs - 1)
    // A single value is drawn as if it had stayed for a moment.
    const values = this.#values.length === 1 ? [...this.#values, ...this.#values] : this.#values
    const left = WIDTH - (values.length - 1) * step
    const points = values.map((value, at) => `${(left + at * step).toFixed(1)},${(HEIGHT * (1 - value / most)).toFixed(1)}`)
    this.#line.setAttribute("d", points.length === 0 ? "" : `M${points.join("L")}`)
    this.#area.setAttribute("d", points.length === 0 ? "" : `M${left.toFixed(1)},${HEIGHT}L${points.join("L")}L${WIDTH},${HEIGHT}Z`)
  }
}

/** How much of each: one bar beside the other. */
export class BarChart {
  readonly #frame: Frame

  constructor(host: HTMLElement) {
    this.#frame = new Frame(host)
    this.clear()
  }

  show(bars: readonly Bar[], text: string): void {
    const most = niceCeiling(Math.max(1, ...bars.map(({ value }) => value)))
    const room = WIDTH / bars.length
    this.#frame.setMost(most)
    this.#frame.setValue(text)
    this.#frame.setEnds(bars[0]?.label ?? "", bars.length > 1 ? (bars.at(-1)?.label ?? "") : "")
    this.#frame.drawing.replaceChildren(...bars.map(({ label, value }, at) => {
      const height = (HEIGHT * value) / most
      const rect = svg("rect", { x: at * room + room * 0.1, y: HEIGHT - height, width: room * 0.8, height })
      const title = svg("title", {})
      title.textContent = `${label}: ${value}`
      rect.append(title)
      return rect
    }))
  }

  clear(): void {
    this.show([], "–")
  }
}

/** What every chart has around its drawing: the value at present, the top of the scale, and the ends of its axis. */
class Frame {
  readonly drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" })
  readonly #value = text("span", "chart-value")
  readonly #most = text("span", "chart-most")
  readonly #ends = [text("span", ""), text("span", "")] as const

  constructor(host: HTMLElement) {
    const plot = text("div", "chart-plot")
    plot.append(this.#most, this.drawing)
    const axis = text("div", "chart-axis")
    axis.append(...this.#ends)
    host.querySelector("figcaption")?.append(this.#value)
    host.append(plot, axis)
  }

  setValue(value: string): void {
    this.#value.textContent = value
  }

  setMost(most: number): void {
    this.#most.textContent = String(most)
  }

  setEnds(left: string, right: string): void {
    this.#ends[0].textContent = left
    this.#ends[1].textContent = right
  }
}

/** The next of 1, 2, 5, 10, 20, 50, … */
export function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  const step = [1, 2, 5, 10].find(each => each * power >= value * (1 - 1e-9)) ?? 10
  return step * power
}

function svg<Name extends keyof SVGElementTagNameMap>(name: Name, attributes: Record<string, string | number>): SVGElementTagNameMap[Name] {
  const element = document.createElementNS(SVG, name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value))
  return element
}

function text(tag: string, className: string): HTMLElement {
  const element = document.createElement(tag)
  if (className !== "") element.className = className
  return element
}
