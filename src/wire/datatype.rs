//! Names of element types in the Open Inference Protocol (KServe, "Tensor Data Types").

use crate::tensor::DType;

const NAMES: &[(DType, &str)] = &[
    (DType::Bool, "BOOL"),
    (DType::U8, "UINT8"),
    (DType::U16, "UINT16"),
    (DType::U32, "UINT32"),
    (DType::U64, "UINT64"),
    (DType::I8, "INT8"),
    (DType::I16, "INT16"),
    (DType::I32, "INT32"),
    (DType::I64, "INT64"),
    (DType::F16, "FP16"),
    (DType::BF16, "BF16"),
    (DType::F32, "FP32"),
    (DType::F64, "FP64"),
    (DType::Str, "BYTES"),
];

/// The protocol's name; `None` for types that it does not have.
pub fn datatype(dtype: DType) -> Option<&'static str> {
    let found = NAMES.iter().find(|(known, _)| *known == dtype);
    found.map(|(_, name)| *name)
}

pub fn dtype(datatype: &str) -> Option<DType> {
    let found = NAMES.iter().find(|(_, name)| *name == datatype);
    found.map(|(dtype, _)| *dtype)
}
