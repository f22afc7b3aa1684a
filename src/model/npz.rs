//! NumPy's archives: a ZIP file with one `.npy` file per array (`numpy.savez`).

use std::collections::HashSet;
use std::io::{Cursor, Read, Write};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::{read_npy, write_npy};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;

/// What all arrays of an archive may take together once they are unpacked.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;
const MAX_ARRAYS: usize = 1 << 16;

/// Reads the arrays of a `.npz` file, in the file's order, under their names without `.npy`.
///
/// # Errors
/// `INVALID_INPUT` for what is not a whole archive of arrays, `TOO_LARGE` for more than 1 GiB
/// unpacked.
pub fn read_npz(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    read_within(bytes, MAX_UNPACKED_BYTES)
}

fn read_within(bytes: &[u8], limit_bytes: u64) -> Result<Vec<(String, Tensor)>> {
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|cause| zip_error("npz", cause))?;
    if archive.len() > MAX_ARRAYS {
        let why = format!("{} arrays, the limit is {MAX_ARRAYS}", archive.len());
        return Err(Error::new(ErrorKind::TooLarge, "npz", why));
    }
    let mut arrays = Vec::new();
    let mut names = HashSet::new();
    let mut left_bytes = limit_bytes;
    for idx in 0..archive.len() {
        let at = format!("npz entry {idx}");
        let entry = archive
            .by_index(idx)
            .map_err(|cause| zip_error(&at, cause))?;
        let path = entry
            .name()
            .map_err(|cause| zip_error(&at, cause))?
            .into_owned();
        let at = format!("npz {path:?}");
        let Some(name) = path.strip_suffix(".npy") else {
            return Err(Error::new(ErrorKind::InvalidInput, at, "not an array"));
        };
        // The size that the archive declares is not believed: reading stops at the limit.
        let mut array = Vec::new();
        let read = entry.take(left_bytes + 1).read_to_end(&mut array);
        read.map_err(|cause| zip_error(&at, ZipError::Io(cause)))?;
        left_bytes = left_bytes.checked_sub(array.len() as u64).ok_or_else(|| {
            let why = format!("more than {limit_bytes} bytes when unpacked");
            Error::new(ErrorKind::TooLarge, "npz", why)
        })?;
        let tensor = read_npy(&array).map_err(|error| error.within(&at))?;
        if !names.insert(name.to_owned()) {
            return Err(Error::new(ErrorKind::InvalidInput, at, "it is there twice"));
        }
        arrays.push((name.to_owned(), tensor));
    }
    Ok(arrays)
}

/// Writes arrays as a `.npz` file, stored without compression as `numpy.savez` does.
///
/// # Errors
/// `INVALID_INPUT` for two arrays of one name, `CONVERT_UNSUPPORTED` for element types that NumPy
/// does not have.
pub fn write_npz(arrays: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, tensor) in arrays {
        let at = format!("npz {name:?}");
        let array = write_npy(tensor).map_err(|error| error.within(&at))?;
        let options = options.large_file(u32::try_from(array.len()).is_err());
        archive
            .start_file(format!("{name}.npy"), options)
            .map_err(|cause| zip_error(&at, cause))?;
        archive
            .write_all(&array)
            .map_err(|cause| zip_error(&at, ZipError::Io(cause)))?;
    }
    let file = archive.finish().map_err(|cause| zip_error("npz", cause))?;
    Ok(file.into_inner())
}

fn zip_error(at: &str, cause: ZipError) -> Error {
    Error::new(ErrorKind::InvalidInput, at, cause.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<(String, Tensor)> {
        vec![
            ("in_0".into(), Tensor::vector(&[1.0_f32, 2.0])),
            ("out/ü".into(), Tensor::scalar(7_i64)),
        ]
    }

    fn packed(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let options = SimpleFileOptions::default().compression_method(method);
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, data) in entries {
            archive.start_file(*name, options).unwrap();
            archive.write_all(data).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    #[test]
    fn arrays_come_back_in_their_order() {
        let file = write_npz(&sample()).unwrap();
        assert_eq!(read_npz(&file).unwrap(), sample());
        assert_eq!(read_npz(&write_npz(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn compressed_archives_are_read() {
        let array = write_npy(&Tensor::vector(&[0_u8; 4096])).unwrap();
        let file = packed(&[("zeros.npy", &array)], CompressionMethod::Deflated);
        assert!(file.len() < 1024);
        assert_eq!(read_npz(&file).unwrap()[0].1.len(), 4096);
    }

    #[test]
    fn unpacking_stops_at_the_limit() {
        let array = write_npy(&Tensor::vector(&[0_u8; 4096])).unwrap();
        let file = packed(
            &[("a.npy", &array), ("b.npy", &array)],
            CompressionMethod::Deflated,
        );
        let both = 2 * array.len() as u64;
        assert_eq!(read_within(&file, both).unwrap().len(), 2);
        let error = read_within(&file, both - 1).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
    }

    #[test]
    fn two_arrays_of_one_name_are_refused() {
        let twice = [sample()[0].clone(), sample()[0].clone()];
        assert_eq!(write_npz(&twice).unwrap_err().kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn an_entry_that_is_no_array_is_named() {
        let file = packed(&[("readme.txt", b"hello")], CompressionMethod::Stored);
        let error = read_npz(&file).unwrap_err();
        assert_eq!(error.to_string(), "npz \"readme.txt\": not an array");
        let file = packed(&[("x.npy", b"hello")], CompressionMethod::Stored);
        let error = read_npz(&file).unwrap_err();
        assert!(
            error.to_string().starts_with("npz \"x.npy\": npy"),
            "{error}"
        );
    }

    #[test]
    fn an_archive_cut_anywhere_is_refused() {
        let file = write_npz(&sample()).unwrap();
        for len in 0..file.len() {
            assert!(read_npz(&file[..len]).is_err(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_archive_gives_arrays_or_an_error(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut file = write_npz(&sample()).unwrap();
            for (place, byte) in damage {
                let idx = place.index(file.len());
                file[idx] = byte;
            }
            let _ = read_within(&file, 1 << 20);
        }
    }
}
