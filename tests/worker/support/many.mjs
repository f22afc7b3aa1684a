// Many requests, and what must be true of their answers whatever happens meanwhile.
import assert from "node:assert/strict"
import { assertScaled, scaleInputs } from "./scale.mjs"

const WINDOW = 256

/**
 * Sends requests, at most `WINDOW` of them at a time, and awaits an answer for each: `atLeast` of them, and on until every step is done. `steps` has
 * what happens once so many answers have come: `[[1000, async () => ...], ...]`. Resolves when all answers and all steps are there, with how often
 * each request was answered, which may be looked at again later; fails with the first answer that is an error, is wrong, or comes twice.
 */
export async function sendMany({ engine, Tensor, atLeast, steps = [] }) {
  const answers = []
  const waitingSteps = [...steps]
  let nStepsUnderWay = 0
  let nAnswered = 0
  await new Promise((resolve, reject) => {
    const take = async step => {
      nStepsUnderWay += 1
      await step()
      nStepsUnderWay -= 1
    }
    const goOn = () => {
      while (waitingSteps.length > 0 && waitingSteps[0][0] <= nAnswered) take(waitingSteps.shift()[1]).catch(reject)
      if (answers.length < atLeast || waitingSteps.length > 0 || nStepsUnderWay > 0) send()
      else if (nAnswered === answers.length) resolve()
    }
    const send = () => {
      const at = answers.push(0) - 1
      engine.addInput(`request ${at}`, scaleInputs(Tensor, at), (id, outputs, error) => {
        try {
          assert.equal(error, undefined, `request ${at}: ${error}`)
          assert.equal(id, `request ${at}`)
          assertScaled(outputs, at)
          answers[at] += 1
          assert.equal(answers[at], 1, `request ${at} was answered twice`)
        } catch (failure) {
          return reject(failure)
        }
        nAnswered += 1
        goOn()
      })
    }
    for (let nSent = 0; nSent < WINDOW; nSent++) send()
  })
  return answers
}
