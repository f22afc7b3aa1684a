const SIZE = 336
const DIGIT_SIZE = 252
/** How long each digit stays. */
const TURN_MS = 1200
const FPS = 30

/** A moving picture without a camera: each picture in turn drifts and sways a little, until the stream's track is stopped. */
export async function openCanvas(pictures: readonly string[]): Promise<MediaStream> {
  const images = await Promise.all(pictures.map(loaded))
  const canvas = document.createElement("canvas")
  canvas.width = SIZE
  canvas.height = SIZE
  const context = canvas.getContext("2d", { alpha: false }) as CanvasRenderingContext2D
  const startedMs = performance.now()
  const draw = () => {
    const elapsedMs = performance.now() - startedMs
    drawDigit(context, images[Math.floor(elapsedMs / TURN_MS) % images.length] as HTMLImageElement, elapsedMs)
  }
  draw()
  const stream = canvas.captureStream(FPS)
  // A timer rather than animation frames: those stop while the page is not in view.
  const timer = setInterval(() => {
    if (stream.active) draw()
    else clearInterval(timer)
  }, 1000 / FPS)
  return stream
}

function drawDigit(context: CanvasRenderingContext2D, image: HTMLImageElement, elapsedMs: number): void {
  const seconds = elapsedMs / 1000
  context.fillStyle = "black"
  context.fillRect(0, 0, SIZE, SIZE)
  context.save()
  context.translate(SIZE / 2 + 14 * Math.sin(seconds * 1.7), SIZE / 2 + 10 * Math.cos(seconds * 2.3))
  context.rotate(0.12 * Math.sin(seconds * 2.9))
  const size = DIGIT_SIZE * (1.1 + 0.06 * Math.sin(seconds * 1.1))
  context.drawImage(image, -size / 2, -size / 2, size, size)
  context.restore()
}

async function loaded(url: string): Promise<HTMLImageElement> {
  const image = new Image()
  image.src = url
  await image.decode()
  return image
}
