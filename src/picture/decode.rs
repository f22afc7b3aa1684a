//! PNG, JPEG, BMP, GIF and WebP files.

use std::io::Cursor;

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::{Picture, check_size, invalid};
use crate::error::{Error, ErrorKind, Result};

/// What a decoder may allocate: the largest picture in four bytes per pixel, and as much again.
const MAX_DECODER_BYTES: u64 = 2 * 4 * super::MAX_PIXELS as u64;

/// Decodes a picture and turns it the way its EXIF orientation says. Of an animation it is the
/// first frame.
///
/// # Errors
/// `INVALID_INPUT` for what is not a whole picture in one of the formats, `TOO_LARGE` above
/// [`super::MAX_PIXELS`].
pub fn decode(bytes: &[u8]) -> Result<Picture> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|cause| invalid(cause.to_string()))?;
    if reader.format().is_none() {
        return Err(invalid("neither PNG, JPEG, BMP, GIF nor WebP"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(decode_error)?;
    let (width, height) = decoder.dimensions();
    check_size(width as usize, height as usize)?;
    // A picture with damaged EXIF data is still a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(decode_error)?;
    decoded.apply_orientation(orientation);
    let rgba = decoded.into_rgba8();
    Picture::from_rgba(
        rgba.width() as usize,
        rgba.height() as usize,
        rgba.into_raw(),
    )
}

fn decode_error(cause: ImageError) -> Error {
    match cause {
        ImageError::Limits(_) => Error::new(
            ErrorKind::TooLarge,
            "image",
            format!("decoding it takes more than {MAX_DECODER_BYTES} bytes"),
        ),
        cause => invalid(cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ImageEncoder, ImageFormat, RgbaImage};
    use proptest::prelude::*;

    use super::*;

    fn sample() -> RgbaImage {
        RgbaImage::from_fn(5, 3, |x, y| [x as u8 * 50, y as u8 * 80, 7, 255].into())
    }

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        // GIF and JPEG have no opacity, or only two levels of it.
        let picture = DynamicImage::from(sample()).into_rgb8();
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    #[test]
    fn lossless_formats_give_every_pixel() {
        use ImageFormat::*;
        for format in [Png, Bmp, Gif, WebP] {
            let picture = decode(&encoded(format)).unwrap();
            assert_eq!((picture.width(), picture.height()), (5, 3), "{format:?}");
            if format != Gif {
                assert_eq!(picture.rgba(), sample().as_raw(), "{format:?}");
            }
        }
        assert_eq!(decode(&encoded(Jpeg)).unwrap().width(), 5);
    }

    #[test]
    fn exif_orientation_turns_the_picture() {
        // TIFF header, one entry: tag 0x0112 (orientation), SHORT, count 1, value 6.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
        let mut file = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut file, 95);
        encoder.set_exif_metadata(exif).unwrap();
        let picture = DynamicImage::from(sample()).into_rgb8();
        encoder.encode_image(&picture).unwrap();
        let picture = decode(&file).unwrap();
        assert_eq!((picture.width(), picture.height()), (3, 5));
    }

    #[test]
    fn what_is_not_a_picture_is_refused() {
        for bytes in [&b""[..], b"hello, world", b"\x89PNG\r\n\x1a\n", b"GIF89a"] {
            assert_eq!(decode(bytes).unwrap_err().kind, ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_huge_declared_size_is_not_allocated() {
        let mut file = encoded(ImageFormat::Bmp);
        file[18..22].copy_from_slice(&60_000_u32.to_le_bytes());
        file[22..26].copy_from_slice(&60_000_u32.to_le_bytes());
        assert_eq!(decode(&file).unwrap_err().kind, ErrorKind::TooLarge);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_damaged_picture_gives_pixels_or_an_error(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            keep in any::<prop::sample::Index>(),
        ) {
            use ImageFormat::*;
            for format in [Png, Jpeg, Bmp, Gif, WebP] {
                let mut file = encoded(format);
                for (place, byte) in &damage {
                    let idx = place.index(file.len());
                    file[idx] = *byte;
                }
                let _ = decode(&file);
                let _ = decode(&file[..keep.index(file.len())]);
            }
        }
    }
}
