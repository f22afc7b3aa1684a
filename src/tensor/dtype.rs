//! The element types of ONNX (`TensorProto.DataType`, onnx.proto, IR version 14).

/// An element type. The discriminants are ONNX's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    U16 = 4,
    I16 = 5,
    I32 = 6,
    I64 = 7,
    Str = 8,
    Bool = 9,
    F16 = 10,
    F64 = 11,
    U32 = 12,
    U64 = 13,
    C64 = 14,
    C128 = 15,
    BF16 = 16,
    F8E4M3FN = 17,
    F8E4M3FNUZ = 18,
    F8E5M2 = 19,
    F8E5M2FNUZ = 20,
    U4 = 21,
    I4 = 22,
    F4E2M1 = 23,
    F8E8M0 = 24,
    U2 = 25,
    I2 = 26,
    F6E2M3 = 27,
    F6E3M2 = 28,
}

/// type, short name (text form), name in `onnxruntime-common` and JSON, bits per element.
const TABLE: &[(DType, &str, &str, usize)] = &[
    (DType::F32, "f32", "float32", 32),
    (DType::U8, "u8", "uint8", 8),
    (DType::I8, "i8", "int8", 8),
    (DType::U16, "u16", "uint16", 16),
    (DType::I16, "i16", "int16", 16),
    (DType::I32, "i32", "int32", 32),
    (DType::I64, "i64", "int64", 64),
    (DType::Str, "str", "string", 0),
    (DType::Bool, "bool", "bool", 8),
    (DType::F16, "f16", "float16", 16),
    (DType::F64, "f64", "float64", 64),
    (DType::U32, "u32", "uint32", 32),
    (DType::U64, "u64", "uint64", 64),
    (DType::C64, "c64", "complex64", 64),
    (DType::C128, "c128", "complex128", 128),
    (DType::BF16, "bf16", "bfloat16", 16),
    (DType::F8E4M3FN, "f8e4m3fn", "float8e4m3fn", 8),
    (DType::F8E4M3FNUZ, "f8e4m3fnuz", "float8e4m3fnuz", 8),
    (DType::F8E5M2, "f8e5m2", "float8e5m2", 8),
    (DType::F8E5M2FNUZ, "f8e5m2fnuz", "float8e5m2fnuz", 8),
    (DType::U4, "u4", "uint4", 4),
    (DType::I4, "i4", "int4", 4),
    (DType::F4E2M1, "f4e2m1", "float4e2m1", 4),
    (DType::F8E8M0, "f8e8m0", "float8e8m0", 8),
    (DType::U2, "u2", "uint2", 2),
    (DType::I2, "i2", "int2", 2),
    (DType::F6E2M3, "f6e2m3", "float6e2m3", 6),
    (DType::F6E3M2, "f6e3m2", "float6e3m2", 6),
];

impl DType {
    /// Every element type, in ONNX's order.
    pub fn all() -> impl Iterator<Item = DType> {
        TABLE.iter().map(|row| row.0)
    }

    pub fn from_onnx(number: i64) -> Option<DType> {
        let idx = usize::try_from(number).ok()?.checked_sub(1)?;
        TABLE.get(idx).map(|row| row.0)
    }

    /// ONNX's number for this type.
    pub fn onnx(self) -> i32 {
        self as i32
    }

    /// From the short name (`f32`) or the long one (`float32`).
    pub fn from_name(name: &str) -> Option<DType> {
        let row = TABLE.iter().find(|row| row.1 == name || row.2 == name)?;
        Some(row.0)
    }

    /// The short name, as in the text form: `f32`.
    pub fn name(self) -> &'static str {
        TABLE[self as usize - 1].1
    }

    /// The name that `onnxruntime-common` uses: `float32`.
    pub fn long_name(self) -> &'static str {
        TABLE[self as usize - 1].2
    }

    /// Bits per element; 0 for strings.
    pub fn bits(self) -> usize {
        TABLE[self as usize - 1].3
    }

    /// Bytes of `count` elements, packed; `None` when that does not fit `usize`.
    pub fn size_bytes(self, count: usize) -> Option<usize> {
        Some(count.checked_mul(self.bits())?.div_ceil(8))
    }

    pub fn is_float(self) -> bool {
        use DType::*;
        matches!(self, F16 | F32 | F64 | BF16)
    }

    /// Signed or unsigned integers of 8 bits and more; not `bool`.
    pub fn is_int(self) -> bool {
        use DType::*;
        matches!(self, U8 | I8 | U16 | I16 | I32 | I64 | U32 | U64)
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_round_trip() {
        for (idx, dtype) in DType::all().enumerate() {
            assert_eq!(dtype as usize, idx + 1);
            assert_eq!(DType::from_onnx(dtype.onnx().into()), Some(dtype));
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
            assert_eq!(DType::from_name(dtype.long_name()), Some(dtype));
        }
        assert_eq!(DType::from_onnx(0), None);
        assert_eq!(DType::from_onnx(29), None);
        assert_eq!(DType::from_onnx(-1), None);
    }

    #[test]
    fn small_elements_share_bytes() {
        assert_eq!(DType::I4.size_bytes(3), Some(2));
        assert_eq!(DType::F6E2M3.size_bytes(5), Some(4));
        assert_eq!(DType::F32.size_bytes(usize::MAX), None);
    }
}
