//! Resizing and cutting out, on the CPU.

use super::Picture;
use super::sampling::{Axis, Cut};

/// Cuts a region out and sets it upright, at its own size. What lies outside the picture repeats
/// the picture's edge.
pub fn cut(picture: &Picture, cut: &Cut) -> Picture {
    let mut rgba = Vec::with_capacity(cut.width * cut.height * 4);
    for row in 0..cut.height {
        for column in 0..cut.width {
            rgba.extend(blend(picture, cut.point(column, row)));
        }
    }
    Picture {
        width: cut.width,
        height: cut.height,
        rgba,
    }
}

/// The colour at a point, between the four nearest pixel centres.
fn blend(picture: &Picture, [x, y]: [f64; 2]) -> [u8; 4] {
    let (left, right, to_right) = neighbours(x, picture.width);
    let (upper, lower, to_lower) = neighbours(y, picture.height);
    std::array::from_fn(|channel| {
        let at =
            |x: usize, y: usize| f64::from(picture.rgba[(y * picture.width + x) * 4 + channel]);
        let above = at(left, upper) * (1.0 - to_right) + at(right, upper) * to_right;
        let below = at(left, lower) * (1.0 - to_right) + at(right, lower) * to_right;
        (above * (1.0 - to_lower) + below * to_lower).round() as u8
    })
}

/// The pixels whose centres lie on either side of a coordinate, and how far it is to the second.
fn neighbours(coordinate: f64, size: usize) -> (usize, usize, f64) {
    let position = (coordinate - 0.5).clamp(0.0, (size - 1) as f64);
    let first = position as usize;
    (first, (first + 1).min(size - 1), position - first as f64)
}

/// Resizes a picture and gives red, green and blue per pixel in 0..=255, without margins.
/// Transparent pixels show white behind them.
pub fn resize(picture: &Picture, columns: &Axis, rows: &Axis) -> Vec<f32> {
    let (across, down) = (&columns.taps, &rows.taps);
    let row_elems = across.len() * 3;
    let mut output = vec![0.0; row_elems * down.len()];
    let mut source = vec![0.0; picture.width * 3];
    let mut narrowed = vec![0.0; row_elems];
    // Source rows pass by once; each adds to the output rows that it touches.
    let mut next = 0;
    for row in rows.source() {
        opaque_row(picture, row, &mut source);
        for (pixel, taps) in narrowed.chunks_exact_mut(3).zip(across) {
            let colours = source[taps.start * 3..].chunks_exact(3);
            let mut sum = [0.0; 3];
            for (colour, weight) in colours.zip(&taps.weights) {
                for (sum, value) in sum.iter_mut().zip(colour) {
                    *sum += value * weight;
                }
            }
            pixel.copy_from_slice(&sum);
        }
        while down.get(next).is_some_and(|taps| taps.end() <= row) {
            next += 1;
        }
        for (out_row, taps) in down.iter().enumerate().skip(next) {
            if taps.start > row {
                break;
            }
            let weight = taps.weights.get(row - taps.start).copied().unwrap_or(0.0);
            let target = &mut output[out_row * row_elems..][..row_elems];
            for (sum, value) in target.iter_mut().zip(&narrowed) {
                *sum += value * weight;
            }
        }
    }
    output
}

/// One row of a picture over white.
fn opaque_row(picture: &Picture, row: usize, target: &mut [f32]) {
    let pixels = picture.rgba[row * picture.width * 4..].chunks_exact(4);
    for (pixel, target) in pixels.zip(target.chunks_exact_mut(3)) {
        let opacity = f32::from(pixel[3]) / 255.0;
        let behind = 255.0 - f32::from(pixel[3]);
        for (target, &value) in target.iter_mut().zip(pixel) {
            *target = f32::from(value) * opacity + behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::FRAC_PI_2;

    use super::super::Region;
    use super::*;
    use crate::error::ErrorKind;

    fn part(picture: &Picture, region: &Region) -> Picture {
        cut(picture, &Cut::new(region).unwrap())
    }

    /// A picture of one row, grey.
    fn row(values: &[u8]) -> Picture {
        let rgba = values.iter().flat_map(|&value| [value, value, value, 255]);
        Picture::from_rgba(values.len(), 1, rgba.collect()).unwrap()
    }

    fn resized(picture: &Picture, width: usize, height: usize) -> Vec<f32> {
        let columns = Axis::whole(width, width, picture.width);
        let rows = Axis::whole(height, height, picture.height);
        let rgb = resize(picture, &columns, &rows);
        rgb.chunks_exact(3).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn the_same_size_gives_the_same_pixels() {
        let values = [3, 200, 0, 255, 17];
        assert_eq!(resized(&row(&values), 5, 1), values.map(f32::from));
    }

    #[test]
    fn enlarging_interpolates() {
        let expected = [0.0, 25.0, 75.0, 100.0];
        assert_eq!(resized(&row(&[0, 100]), 4, 1), expected);
        assert_eq!(resized(&row(&[9]), 2, 3), [9.0; 6]);
    }

    #[test]
    fn reducing_takes_every_pixel_into_account() {
        let stripes: Vec<u8> = (0..64).map(|x| if x % 2 == 0 { 0 } else { 200 }).collect();
        for value in resized(&row(&stripes), 5, 1) {
            assert!((value - 100.0).abs() < 6.0, "{value}");
        }
    }

    #[test]
    fn one_colour_stays_one_colour_at_every_size() {
        let picture = Picture::from_rgba(7, 5, [80, 80, 80, 255].repeat(35)).unwrap();
        for (width, height) in [(1, 1), (3, 9), (64, 2), (7, 5)] {
            for value in resized(&picture, width, height) {
                assert!((value - 80.0).abs() < 1e-3, "{value} at {width} x {height}");
            }
        }
    }

    #[test]
    fn transparent_pixels_are_white() {
        let picture = Picture::from_rgba(2, 1, vec![0, 0, 0, 0, 100, 0, 0, 51]).unwrap();
        let values = resized(&picture, 2, 1);
        assert!((values[0] - 255.0).abs() < 1e-3);
        assert!((values[1] - (20.0 + 204.0)).abs() < 1e-3);
    }

    #[test]
    fn a_cut_at_whole_pixels_is_exact() {
        let picture = row(&[1, 2, 3, 4, 5]);
        let inside = part(&picture, &Region::upright(1.0, 0.0, 3.0, 1.0));
        assert_eq!(inside, row(&[2, 3, 4]));
        let beyond = part(&picture, &Region::upright(3.0, -2.0, 4.0, 1.0));
        assert_eq!(beyond, row(&[4, 5, 5, 5]));
    }

    #[test]
    fn a_turned_cut_stands_upright() {
        // A column that reads 1, 2, 3 downwards, cut with the reading direction downwards.
        let rgba = [1, 2, 3]
            .iter()
            .flat_map(|&value| [value, value, value, 255]);
        let column = Picture::from_rgba(1, 3, rgba.collect()).unwrap();
        let region = Region {
            angle: FRAC_PI_2,
            ..Region::upright(-1.0, 1.0, 3.0, 1.0)
        };
        assert_eq!(part(&column, &region), row(&[1, 2, 3]));
    }

    #[test]
    fn impossible_regions_are_refused() {
        let refused = |width, height| {
            let region = Region::upright(0.0, 0.0, width, height);
            Cut::new(&region).unwrap_err().kind
        };
        assert_eq!(refused(0.2, 1.0), ErrorKind::InvalidInput);
        assert_eq!(refused(-3.0, 1.0), ErrorKind::InvalidInput);
        assert_eq!(refused(f64::NAN, 1.0), ErrorKind::InvalidInput);
        assert_eq!(refused(1e18, 1e18), ErrorKind::TooLarge);
    }
}
