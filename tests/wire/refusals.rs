//! Inferences that are none: each is refused with a code, and with the name of the tensor.

use bytes::Bytes;
use sentinel_inference::ErrorKind::{self, DtypeMismatch, InvalidInput, ShapeMismatch, TooLarge};
use sentinel_inference::error::Result;
use sentinel_inference::tensor::Tensor;
use sentinel_inference::wire::{InferRequest, Limits};

const LIMITS: Limits = Limits {
    max_message_bytes: 1 << 20,
    max_header_bytes: 1 << 16,
    max_tensors: 3,
    max_rank: 4,
    max_elements: 1000,
};

fn tensors(json: &str, payload: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let body = Bytes::from([json.as_bytes(), payload].concat());
    let length = json.len().to_string();
    let (request, payload) = InferRequest::from_body(Some(&length), body, &LIMITS)?;
    request.tensors(payload, &LIMITS)
}

/// A request of one input named x.
fn input(members: &str) -> String {
    format!(r#"{{"inputs": [{{"name": "x", {members}}}]}}"#)
}

fn check(json: &str, payload: &[u8], kind: ErrorKind, expected: &str) {
    let error = match tensors(json, payload) {
        Ok(tensors) => panic!("{json} is refused, not {tensors:?}"),
        Err(error) => error,
    };
    let text = error.to_string();
    assert!(
        error.kind == kind && text.contains(expected),
        "{json}: {kind:?} {expected:?} is expected in {:?} {text:?}",
        error.kind
    );
}

#[test]
fn tensors_that_are_none_are_refused_by_name() {
    let cases: &[(&str, &[u8], ErrorKind, &str)] = &[
        (
            r#""datatype": "FP8", "shape": [1], "data": [1]"#,
            &[],
            DtypeMismatch,
            r#""x": "FP8" is no datatype"#,
        ),
        (
            r#""datatype": "fp32", "shape": [1], "data": [1]"#,
            &[],
            DtypeMismatch,
            "no datatype",
        ),
        (
            r#""datatype": "FP32", "shape": [1]"#,
            &[],
            InvalidInput,
            r#""x": it has neither data nor binary_data_size"#,
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": null"#,
            &[],
            InvalidInput,
            "neither",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": [1], "parameters": {"binary_data_size": 4}"#,
            &[0; 4],
            InvalidInput,
            "both",
        ),
        (
            r#""datatype": "FP32", "shape": [1, 1, 1, 1, 1], "data": [1]"#,
            &[],
            TooLarge,
            "4 axes",
        ),
        (
            r#""datatype": "FP32", "shape": [1001], "data": [1]"#,
            &[],
            TooLarge,
            "more than 1000 elements",
        ),
        (
            r#""datatype": "FP32", "shape": [0, 1001], "data": []"#,
            &[],
            TooLarge,
            "more than 1000 elements",
        ),
        (
            r#""datatype": "FP32", "shape": [4294967296, 4294967296, 4294967296], "data": [1]"#,
            &[],
            TooLarge,
            "more than 1000 elements",
        ),
        (
            r#""datatype": "FP32", "shape": [18446744073709551615, 0], "data": []"#,
            &[],
            TooLarge,
            "more than 1000 elements",
        ),
        (
            r#""datatype": "FP32", "shape": [-1], "data": [1]"#,
            &[],
            InvalidInput,
            "-1",
        ),
        (
            r#""datatype": "FP32", "shape": [1.5], "data": [1]"#,
            &[],
            InvalidInput,
            "1.5",
        ),
        (
            r#""datatype": "FP32", "shape": 1, "data": [1]"#,
            &[],
            InvalidInput,
            "a list",
        ),
        (
            r#""datatype": "FP32", "data": [1]"#,
            &[],
            InvalidInput,
            "shape",
        ),
        (
            r#""datatype": "FP32", "shape": [2], "data": [1]"#,
            &[],
            InvalidInput,
            "1 elements for a shape of 2",
        ),
        (
            r#""datatype": "FP32", "shape": [2], "data": [1, 2, 3]"#,
            &[],
            InvalidInput,
            "more than the 2 elements",
        ),
        (
            r#""datatype": "FP32", "shape": [0], "data": [1]"#,
            &[],
            InvalidInput,
            "more than the 0 elements",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": 1"#,
            &[],
            InvalidInput,
            "no list",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": {"a": 1}"#,
            &[],
            InvalidInput,
            "no list",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": [{"a": 1}]"#,
            &[],
            InvalidInput,
            "a list of FP32",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": [null]"#,
            &[],
            InvalidInput,
            "null",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": ["1"]"#,
            &[],
            InvalidInput,
            "string",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": [true]"#,
            &[],
            InvalidInput,
            "boolean",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": [NaN]"#,
            &[],
            InvalidInput,
            "",
        ),
        (
            r#""datatype": "BYTES", "shape": [1], "data": [1]"#,
            &[],
            InvalidInput,
            "BYTES does not have",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 8}"#,
            &[0; 4],
            InvalidInput,
            "8 bytes announced, 4 left",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 3}"#,
            &[0; 3],
            ShapeMismatch,
            r#""x": 3 bytes cannot be f32[1]"#,
        ),
        (
            r#""datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}"#,
            &[0; 7],
            InvalidInput,
            "payload: 3 bytes belong to no tensor",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "data": [1]"#,
            &[0],
            InvalidInput,
            "payload: 1 bytes belong to no tensor",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": -4}"#,
            &[0; 4],
            InvalidInput,
            "binary_data_size is no size",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4.0}"#,
            &[0; 4],
            InvalidInput,
            "binary_data_size is no size",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": "4"}"#,
            &[0; 4],
            InvalidInput,
            "binary_data_size is no size",
        ),
        (
            r#""datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": [4]}"#,
            &[0; 4],
            InvalidInput,
            "neither",
        ),
        (
            r#""datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}"#,
            &[1, 2],
            InvalidInput,
            r#""x": a BOOL is 0 or 1"#,
        ),
        (
            r#""datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 3}"#,
            &[0; 3],
            InvalidInput,
            r#""x": its bytes are not 1 strings"#,
        ),
        (
            r#""datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}"#,
            &[3, 0, 0, 0, b'a', b'b'],
            InvalidInput,
            "not 1 strings",
        ),
        (
            r#""datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 8}"#,
            &[0; 8],
            InvalidInput,
            "not 1 strings",
        ),
        (
            r#""datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 4}"#,
            &[0; 4],
            InvalidInput,
            "not 2 strings",
        ),
        (
            r#""datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4}"#,
            &[255; 4],
            InvalidInput,
            "not 1 strings",
        ),
        (
            r#""datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}"#,
            &[1, 0, 0, 0, 0xff],
            InvalidInput,
            "not UTF-8",
        ),
    ];
    for (members, payload, kind, expected) in cases {
        check(&input(members), payload, *kind, expected);
    }
}

#[test]
fn numbers_beyond_their_type_are_refused() {
    let cases = [
        ("BOOL", "2"),
        ("BOOL", "-1"),
        ("BOOL", "1.0"),
        ("UINT8", "256"),
        ("UINT8", "-1"),
        ("UINT16", "65536"),
        ("UINT32", "4294967296"),
        ("UINT64", "18446744073709551616"),
        ("UINT64", "-1"),
        ("INT8", "128"),
        ("INT8", "-129"),
        ("INT16", "32768"),
        ("INT32", "2147483648"),
        ("INT32", "1.5"),
        ("INT64", "9223372036854775808"),
        ("INT64", "-9223372036854775809"),
        ("FP16", "65520"),
        ("BF16", "3.4e38"),
        ("FP32", "3.5e38"),
        ("FP32", "-3.5e38"),
    ];
    for (datatype, number) in cases {
        let members = format!(r#""datatype": "{datatype}", "shape": [1], "data": [{number}]"#);
        let expected = format!("a number that {datatype} does not have");
        check(&input(&members), &[], InvalidInput, &expected);
    }
    let members = r#""datatype": "FP64", "shape": [1], "data": [1e999]"#;
    check(&input(members), &[], InvalidInput, "out of range");
}

#[test]
fn the_largest_numbers_of_each_type_pass() {
    let cases = [
        ("BOOL", "1"),
        ("BOOL", "true"),
        ("UINT8", "255"),
        ("UINT64", "18446744073709551615"),
        ("INT8", "-128"),
        ("INT64", "-9223372036854775808"),
        ("FP16", "65504"),
        ("FP32", "3.4028235e38"),
        ("FP64", "1.7976931348623157e308"),
        ("FP64", "18446744073709551616"),
        ("BYTES", r#""\u0000""#),
    ];
    for (datatype, number) in cases {
        let members = format!(r#""datatype": "{datatype}", "shape": [], "data": [{number}]"#);
        let read = tensors(&input(&members), &[]).unwrap();
        assert_eq!(read[0].1.len(), 1, "{datatype} {number}");
    }
}

#[test]
fn nested_lists_are_read_in_their_order() {
    let flat = tensors(
        &input(r#""datatype": "INT32", "shape": [2, 2], "data": [1, 2, 3, 4]"#),
        &[],
    );
    let nested = tensors(
        &input(r#""datatype": "INT32", "shape": [2, 2], "data": [[1, 2], [3, 4]]"#),
        &[],
    );
    assert_eq!(flat.unwrap(), nested.unwrap());
}

#[test]
fn a_list_in_thousands_of_lists_is_refused() {
    let data = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let members = format!(r#""datatype": "FP32", "shape": [0], "data": {data}"#);
    check(&input(&members), &[], InvalidInput, "recursion limit");
    let ignored = format!(r#"{{"inputs": [], "more": {data}}}"#);
    assert!(tensors(&ignored, &[]).is_ok());
}

#[test]
fn a_name_is_given_once() {
    let one = r#"{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}"#;
    let json = format!(r#"{{"inputs": [{one}, {one}]}}"#);
    check(&json, &[], InvalidInput, r#""x": it is given twice"#);
}

#[test]
fn more_tensors_than_the_limit_are_refused() {
    let one =
        |at: usize| format!(r#"{{"name": "{at}", "datatype": "FP32", "shape": [1], "data": [1]}}"#);
    for n in [4, 5000] {
        let all = (0..n).map(one).collect::<Vec<_>>().join(", ");
        let json = format!(r#"{{"inputs": [{all}]}}"#);
        check(&json, &[], TooLarge, "inputs: more than the limit of 3");
    }
    let json = r#"{"inputs": [], "outputs": [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}]}"#;
    check(json, &[], TooLarge, "outputs: more than the limit of 3");
}

#[test]
fn bodies_that_are_no_request_are_refused() {
    let read = |length: Option<&str>, body: &[u8]| {
        let body = Bytes::copy_from_slice(body);
        InferRequest::from_body(length, body, &LIMITS).unwrap_err()
    };
    let cases: &[(Option<&str>, &[u8], &str)] = &[
        (None, b"", "no JSON object"),
        (None, b"[]", "no JSON object"),
        (None, b"null", "no JSON object"),
        (None, b"{}", "missing field `inputs`"),
        (None, b"{\"inputs\": []} x", "trailing"),
        (None, b"{\"inputs\": []", "EOF"),
        (None, b"{\"inputs\": [], \"inputs\": []}", "duplicate"),
        (None, b"{\"inputs\": [1]}", "expected a tensor"),
        (None, b"{\"inputs\": [], \"id\": 1}", "expected a string"),
        (None, b"{\"inputs\": [], \"id\": \"\xff\"}", "unicode"),
        (None, b"{\"inputs\": [], \"parameters\": []}", "parameters"),
        (Some("0"), b"{\"inputs\": []}", "no JSON object"),
        (Some("12"), b"{\"inputs\": []}", "EOF"),
        (Some("15"), b"{\"inputs\": []}", "the body has 14"),
        (Some("-1"), b"{\"inputs\": []}", "\"-1\" is no length"),
        (Some("+14"), b"{\"inputs\": []}", "\"+14\" is no length"),
        (Some(""), b"{\"inputs\": []}", "\"\" is no length"),
        (
            Some("99999999999999999999"),
            b"{\"inputs\": []}",
            "is no length",
        ),
    ];
    for (length, body, expected) in cases {
        let error = read(*length, body);
        assert_eq!(error.kind, InvalidInput, "{error}");
        assert!(
            error.to_string().contains(expected),
            "{expected:?} in {error}"
        );
    }
    let error = read(None, &vec![b' '; LIMITS.max_message_bytes + 1]);
    assert_eq!(error.kind, TooLarge);
}

#[test]
fn null_members_are_as_if_they_were_left_out() {
    let json = br#"{"id": null, "model_name": null, "deadline_ms": null, "parameters": null, "inputs": [], "outputs": null}"#;
    let (request, _) = InferRequest::from_body(None, Bytes::from_static(json), &LIMITS).unwrap();
    assert!(request.id.is_empty() && request.parameters.is_empty() && request.outputs.is_empty());
    assert_eq!(request.wait().unwrap(), None);
}

#[test]
fn parameters_of_other_kinds_are_passed_over() {
    let json = br#"{"inputs": [], "parameters": {"a": [1, [2]], "b": {"c": 1}, "d": null, "e": true, "f": -1, "g": 0.5, "h": "i"}}"#;
    let (request, _) = InferRequest::from_body(None, Bytes::from_static(json), &LIMITS).unwrap();
    let names: Vec<_> = request.parameters.keys().map(String::as_str).collect();
    assert_eq!(names, ["e", "f", "g", "h"]);
    let many: Vec<_> = (0..65).map(|at| format!(r#""{at}": 1"#)).collect();
    let json = format!(r#"{{"inputs": [], "parameters": {{{}}}}}"#, many.join(", "));
    check(&json, &[], InvalidInput, "more than 64 parameters");
}

#[test]
fn waits_that_are_none_are_refused() {
    let wait = |members: &str| -> Result<Option<u128>> {
        let json = format!(r#"{{"inputs": [], {members}}}"#);
        let (request, _) = InferRequest::from_body(None, json.into(), &LIMITS)?;
        Ok(request.wait()?.map(|wait| wait.as_micros()))
    };
    const DAY_US: u128 = 24 * 3600 * 1_000_000;
    let good: &[(&str, Option<u128>)] = &[
        (r#""deadline_ms": 0"#, Some(0)),
        (r#""deadline_ms": 1.5"#, Some(1500)),
        (r#""deadline_ms": 1e308"#, Some(DAY_US)),
        (
            r#""deadline_ms": 2, "parameters": {"timeout": 1}"#,
            Some(2000),
        ),
        (r#""parameters": {"timeout": 7}"#, Some(7)),
        (r#""parameters": {"timeout": 0}"#, None),
        (
            r#""parameters": {"timeout": 18446744073709551615}"#,
            Some(DAY_US),
        ),
        (r#""parameters": {}"#, None),
    ];
    for (members, expected) in good {
        assert_eq!(wait(members), Ok(*expected), "{members}");
    }
    for members in [
        r#""deadline_ms": -1"#,
        r#""deadline_ms": "1""#,
        r#""parameters": {"timeout": -1}"#,
        r#""parameters": {"timeout": 1.5}"#,
        r#""parameters": {"timeout": "1"}"#,
    ] {
        assert_eq!(wait(members).unwrap_err().kind, InvalidInput, "{members}");
    }
}

#[test]
fn priorities_are_whole_numbers() {
    let priority = |value: &str| {
        let json = format!(r#"{{"inputs": [], "parameters": {{"priority": {value}}}}}"#);
        let (request, _) = InferRequest::from_body(None, json.into(), &LIMITS).unwrap();
        request.priority().map_err(|error| error.kind)
    };
    assert_eq!(priority("null"), Ok(0));
    assert_eq!(priority("-7"), Ok(-7));
    for wrong in ["1.5", "\"1\"", "2147483648", "18446744073709551615"] {
        assert_eq!(priority(wrong), Err(InvalidInput), "{wrong}");
    }
}

#[test]
fn errors_repeat_little_of_what_was_sent() {
    let long = "\\u001b[31m\\n".repeat(5000);
    let tensor = |members: &str| format!(r#"{{"inputs": [{{{members}}}]}}"#);
    for json in [
        tensor(&format!(
            r#""name": "{long}", "datatype": "FP32", "shape": [1]"#
        )),
        tensor(&format!(
            r#""name": "x", "datatype": "{long}", "shape": [1]"#
        )),
        tensor(&format!(
            r#""name": "x", "datatype": "FP32", "shape": [1], "data": ["{long}"]"#
        )),
        tensor(&format!(r#""name": "x", "shape": "{long}""#)),
        format!(r#"{{"inputs": "{long}"}}"#),
    ] {
        let text = tensors(&json, &[]).unwrap_err().to_string();
        assert!(text.len() < 800, "{} bytes: {text}", text.len());
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
