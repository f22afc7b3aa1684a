/** What an object has under a name by itself: inputs and outputs may be called as what every object inherits. */
export function own<Value>(object: Readonly<Record<string, Value>>, name: string): Value | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined
}
