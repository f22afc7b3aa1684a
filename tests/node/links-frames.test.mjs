// Frames and tensors between clients and workers.
import assert from "node:assert/strict"
import { test } from "node:test"
import { crc32 as nodeCrc32 } from "node:zlib"
import { cut, frame } from "./links/frames.mjs"
import { fromWww, linksHost } from "./links/host.mjs"

const fc = fromWww("fast-check")
const host = await linksHost()
const { Tensor } = host

const payloadOf = parts => Buffer.concat(parts)
/** What comes out of a frame that was written of tensors. */
function through(tensors, ports = []) {
  const { wired, parts } = host.writeTensors(tensors)
  const { header, payload } = host.readFrame(host.writeFrame({ type: "output", outputs: wired }, parts))
  return host.readTensors(header.outputs, payload, Object.keys(tensors), ports)
}

const refused = (listed, payload, why, wanted = ["y"], ports = []) => {
  assert.throws(() => host.readTensors(listed, payload, wanted, ports), error => {
    assert.equal(error.name, "SentinelError")
    assert.equal(error.code, "INVALID_INPUT", error.message)
    assert.match(error.message, why)
    return true
  })
}

test("the_checksum_is_that_of_zip", () => {
  assert.equal(host.crc32InScript(Buffer.from("123456789")), 0xcbf43926)
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), bytes => {
    assert.equal(host.crc32InScript(bytes), nodeCrc32(bytes))
    assert.equal(host.crc32(bytes), nodeCrc32(bytes))
  }))
})

test("a_frame_is_what_the_protocol_says", () => {
  const written = Buffer.from(host.writeFrame({ type: "ping", id: "ü" }, [new Uint8Array([1, 2, 3])]))
  const { header, payload } = cut(written)
  assert.deepEqual(header, { type: "ping", id: "ü" })
  assert.deepEqual([...payload], [1, 2, 3])
  assert.equal((written.length - 4 - 3) % 8, 0)
  const read = host.readFrame(frame({ a: 1 }, Buffer.from("xyz")))
  assert.deepEqual([read.header, Buffer.from(read.payload).toString()], [{ a: 1 }, "xyz"])
})

test("a_frame_without_checksum_and_spaces_is_read", () => {
  const json = Buffer.from(`{"a":1}`)
  const read = host.readFrame(Buffer.concat([Buffer.from([json.length, 0, 0, 0]), json, Buffer.from("z")]))
  assert.deepEqual([read.header, Buffer.from(read.payload).toString()], [{ a: 1 }, "z"])
})

test("every_flipped_bit_is_found", () => {
  const whole = frame({ a: 1 }, Buffer.from("xyz"))
  for (let bit = 0; bit < whole.length * 8; bit += 1) {
    // Without its mark the checksum is bytes of no tensor.
    if (bit === 31) continue
    const bytes = Buffer.from(whole)
    bytes[bit >> 3] ^= 1 << (bit & 7)
    assert.throws(() => host.readFrame(bytes), { code: "INVALID_INPUT" }, `bit ${bit}`)
  }
})

test("any_bytes_are_a_frame_or_refused", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), bytes => {
    try {
      const { header } = host.readFrame(bytes)
      assert.equal(typeof header, "object")
    } catch (error) {
      assert.equal(error.code, "INVALID_INPUT")
    }
  }), { numRuns: 2000 })
  for (const json of ["[]", "1", "null", "{", "", "\xff"]) {
    const bytes = Buffer.from(json, "latin1")
    assert.throws(() => host.readFrame(Buffer.concat([Buffer.from([bytes.length, 0, 0, 0]), bytes])), { code: "INVALID_INPUT" }, json)
  }
})

test("tensors_of_every_type_come_back_as_they_were", () => {
  const tensors = {
    bool: new Tensor("bool", [true, false, true], [3]),
    uint8: new Tensor("uint8", [1, 2, 255], [3, 1]),
    uint16: new Tensor("uint16", [1, 65535], [2]),
    uint32: new Tensor("uint32", [2 ** 32 - 1], [1]),
    uint64: new Tensor("uint64", [2n ** 64n - 1n], [1]),
    int8: new Tensor("int8", [-128, 127, 3], [1, 3]),
    int16: new Tensor("int16", [-32768], [1]),
    int32: new Tensor("int32", [-(2 ** 31)], []),
    int64: new Tensor("int64", [-(2n ** 63n)], [1]),
    float16: new Tensor("float16", new Uint16Array([0x3c00, 0xfc00]), [2]),
    float32: new Tensor("float32", [1.5, NaN, -Infinity], [3]),
    float64: new Tensor("float64", [Math.PI], [1, 1, 1]),
    string: new Tensor("string", ["", "żółw", "\ufeffa", "🐢"], [2, 2]),
    empty: new Tensor("float32", [], [0, 7]),
  }
  const read = through(tensors)
  for (const [name, tensor] of Object.entries(tensors)) {
    assert.equal(read[name].type, tensor.type, name)
    assert.deepEqual(read[name].dims, tensor.dims, name)
    assert.deepEqual(read[name].data, tensor.data, name)
  }
})

test("aligned_elements_are_not_copied_and_others_once", () => {
  const { wired, parts } = host.writeTensors({ y: new Tensor("float32", [1, 2], [2]) })
  const message = host.writeFrame({ outputs: wired }, parts)
  const { header, payload } = host.readFrame(message)
  assert.equal(host.readTensors(header.outputs, payload, ["y"], []).y.data.buffer, message.buffer)
  const shifted = new Uint8Array(payload.length + 1).subarray(1)
  shifted.set(payload)
  const { y } = host.readTensors(header.outputs, shifted, ["y"], [])
  assert.notEqual(y.data.buffer, shifted.buffer)
  assert.deepEqual([...y.data], [1, 2])
  const buffer = Buffer.from(new Uint8Array(payload.length + 1).buffer, 1)
  buffer.set(payload)
  assert.deepEqual([...host.readTensors(header.outputs, buffer, ["y"], []).y.data], [1, 2])
})

test("four_bit_tensors_are_refused_before_they_are_sent", () => {
  for (const type of ["int4", "uint4"]) {
    const tensor = new Tensor(type, new Uint8Array(1), [2])
    assert.throws(() => host.writeTensors({ x: tensor }), { code: "DTYPE_MISMATCH" })
  }
})

test("outputs_that_are_not_as_announced_are_refused", () => {
  const four = Buffer.alloc(4)
  const y = { name: "y", datatype: "FP32", shape: [1], parameters: { binary_data_size: 4 } }
  refused(undefined, four, /expected a list/)
  refused([], Buffer.alloc(0), /"y": it is missing/)
  refused([y], Buffer.alloc(3), /4 bytes, 3 are left/)
  refused([y], Buffer.alloc(5), /1 bytes of the message belong to none/)
  refused([y, y], Buffer.alloc(8), /given twice/)
  refused([null], four, /without a name/)
  refused([{ ...y, shape: [2] }], four, /4 bytes for \[2\]/)
  refused([{ ...y, shape: [-1] }], four, /no list/)
  refused([{ ...y, shape: [1e300] }], four, /no list/)
  refused([{ ...y, shape: [2 ** 50, 2 ** 50] }], four, /a shape of/)
  refused([{ ...y, shape: new Array(17).fill(1) }], four, /no list/)
  refused([{ ...y, shape: "1" }], four, /no list/)
  refused([{ ...y, datatype: "FP8" }], four, /no datatype/)
  refused([{ ...y, datatype: "INT32" }], four, /it is INT32, announced was FP32/, ["y"], [{ name: "y", datatype: "FP32" }])
  for (const size of [undefined, null, -4, 4.5, "4", 2 ** 60, {}]) refused([{ ...y, parameters: { binary_data_size: size } }], four, /are left/)
  refused(new Array(300).fill(y), four, /300 of them/)
  refused([{ name: "y", datatype: "BYTES", shape: [1], parameters: { binary_data_size: 4 } }], Buffer.from([9, 0, 0, 0]), /not 1 strings/)
  refused([{ name: "y", datatype: "BYTES", shape: [1], parameters: { binary_data_size: 5 } }], Buffer.from([1, 0, 0, 0, 0xff]), /not UTF-8/)
  assert.throws(() => host.readTensors([{ ...y, datatype: "BF16", shape: [2] }], four, ["y"], []), { code: "MODEL_UNSUPPORTED" })
})

test("outputs_in_json_are_read_nested_and_flat", () => {
  const read = (datatype, shape, data) => host.readTensors([{ name: "y", datatype, shape, data }], new Uint8Array(), ["y"], []).y
  assert.deepEqual([...read("FP32", [2, 2], [[1, 2], [3, 4.5]]).data], [1, 2, 3, 4.5])
  assert.deepEqual([...read("INT64", [2], [1, -2]).data], [1n, -2n])
  assert.deepEqual([...read("BOOL", [3], [true, false, 1]).data], [1, 0, 1])
  assert.deepEqual(read("BYTES", [1], ["a"]).data, ["a"])
  const wrongs = [["FP32", [1, 2]], ["FP32", ["1"]], ["UINT8", [256]], ["INT8", [1.5]], ["INT64", [2 ** 60]], ["UINT64", [-1]], ["BYTES", [1]], ["FP32", {}], ["FP32", null]]
  for (const [datatype, data] of wrongs) {
    assert.throws(() => read(datatype, [1], data), { code: "INVALID_INPUT" }, `${datatype} ${JSON.stringify(data)}`)
  }
})

test("a_name_that_objects_inherit_is_a_name_like_any_other", () => {
  const { wired, parts } = host.writeTensors({ x: new Tensor("float32", [1], [1]) })
  wired[0].name = "__proto__"
  const read = host.readTensors(wired, payloadOf(parts), ["__proto__"], [])
  assert.deepEqual(Object.keys(read), ["__proto__"])
  refused([{ ...wired[0], name: "x" }], payloadOf(parts), /"toString": it is missing/, ["toString"])
})
