//! From the outputs of text models to boxes and characters.

use std::f64::consts::FRAC_PI_2;

use super::Region;
use super::rectangle::{Point, area, smallest_rectangle, upright_rectangle};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;

/// Less is taken for upright: cutting at whole pixels keeps letters sharp.
const UPRIGHT_WITHIN_RADIANS: f64 = 0.026;
/// A box as much higher than wide holds a line that reads downwards.
const DOWNWARDS_RATIO: f64 = 1.5;
/// Regions thinner than this many pixels of the map are noise.
const MIN_SIDE: f64 = 3.0;

/// Differentiable binarisation's own settings (Liao et al., 2020), unless said otherwise.
#[derive(Clone, Debug)]
pub struct TextBoxOptions {
    /// The probability from which on a pixel is text.
    pub threshold: f32,
    /// The mean probability from which on a region is a box.
    pub min_score: f32,
    /// The model finds the core of a line: boxes grow by `area * unclip_ratio / perimeter`.
    pub unclip_ratio: f64,
    /// Width and height of the picture that the map is of; boxes are in its pixels. Without it:
    /// those of the map.
    pub picture_size: Option<(usize, usize)>,
    pub max_boxes: usize,
}

impl Default for TextBoxOptions {
    fn default() -> TextBoxOptions {
        TextBoxOptions {
            threshold: 0.3,
            min_score: 0.6,
            unclip_ratio: 1.5,
            picture_size: None,
            max_boxes: 1000,
        }
    }
}

/// A line of text in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextBox {
    pub region: Region,
    /// The mean probability of its pixels.
    pub score: f32,
}

/// The lines of text in a map of probabilities, in reading order.
///
/// map: f32 [.., h, w], all axes before the last two of size 1.
///
/// # Errors
/// `DTYPE_MISMATCH` or `SHAPE_MISMATCH` for another map, `INVALID_INPUT` for impossible options.
pub fn text_boxes(map: &Tensor, options: &TextBoxOptions) -> Result<Vec<TextBox>> {
    let (probabilities, width, height) = last_two(map, "text map")?;
    let (picture_width, picture_height) = options.picture_size.unwrap_or((width, height));
    let invalid = |why| Err(Error::new(ErrorKind::InvalidInput, "text map", why));
    if !options.unclip_ratio.is_finite() || options.unclip_ratio < 0.0 {
        return invalid(format!("an unclip ratio of {}", options.unclip_ratio));
    }
    if options.picture_size.is_some() && picture_width.min(picture_height) == 0 {
        return invalid(format!("a picture of {picture_width} x {picture_height}"));
    }
    let zoom_x = picture_width as f64 / width as f64;
    let zoom_y = picture_height as f64 / height as f64;
    let min_side = MIN_SIDE * zoom_x.min(zoom_y);

    let mut boxes = Vec::new();
    let mut seen = vec![false; probabilities.len()];
    for start in 0..probabilities.len() {
        if boxes.len() == options.max_boxes {
            break;
        }
        if seen[start] || probabilities[start] <= options.threshold {
            continue;
        }
        let pixels = flood(&probabilities, width, start, options.threshold, &mut seen);
        let sum: f64 = pixels
            .iter()
            .map(|&idx| f64::from(probabilities[idx]))
            .sum();
        let score = (sum / pixels.len() as f64) as f32;
        if score < options.min_score {
            continue;
        }
        let corners = outline(pixels, width)
            .map(|(x, y)| (x as f64 * zoom_x, y as f64 * zoom_y))
            .collect();
        let core = fitting_rectangle(corners);
        if core.width.min(core.height) < min_side {
            continue;
        }
        let margin = area(&core) * options.unclip_ratio / (2.0 * (core.width + core.height));
        let grown = Region {
            x: core.x - margin,
            y: core.y - margin,
            width: core.width + 2.0 * margin,
            height: core.height + 2.0 * margin,
            ..core
        };
        boxes.push(TextBox {
            region: readable(grown, picture_width, picture_height),
            score,
        });
    }
    Ok(in_reading_order(boxes))
}

/// The probabilities, width and height of a map.
fn last_two<'a>(
    map: &'a Tensor,
    at: &'static str,
) -> Result<(std::borrow::Cow<'a, [f32]>, usize, usize)> {
    let elements = map
        .elements::<f32>()
        .ok_or_else(|| Error::dtype(at, format!("it is {}, expected f32", map.dtype())))?;
    match map.sizes() {
        [before @ .., height, width] if before.iter().all(|&size| size == 1) => {
            Ok((elements, *width, *height))
        }
        sizes => Err(Error::shape(
            at,
            format!("it is {sizes:?}, expected [1, 1, h, w]"),
        )),
    }
}

/// The indices of all pixels above the threshold that touch each other, corners included.
fn flood(map: &[f32], width: usize, start: usize, threshold: f32, seen: &mut [bool]) -> Vec<usize> {
    let height = map.len() / width;
    seen[start] = true;
    let mut pixels = vec![start];
    let mut next = 0;
    while let Some(&pixel) = pixels.get(next) {
        next += 1;
        let (x, y) = (pixel % width, pixel / width);
        for y in y.saturating_sub(1)..(y + 2).min(height) {
            for x in x.saturating_sub(1)..(x + 2).min(width) {
                let neighbour = y * width + x;
                if !seen[neighbour] && map[neighbour] > threshold {
                    seen[neighbour] = true;
                    pixels.push(neighbour);
                }
            }
        }
    }
    pixels
}

/// The outer corners of the first and the last pixel of each row: enough for the convex hull.
fn outline(mut pixels: Vec<usize>, width: usize) -> impl Iterator<Item = (usize, usize)> {
    pixels.sort_unstable();
    let ends = |row: &[usize]| {
        let first = row[0];
        let last = row[row.len() - 1];
        (first % width, last % width + 1, first / width)
    };
    let rows = pixels.chunk_by(|a, b| a / width == b / width).map(ends);
    let rows: Vec<_> = rows.collect();
    rows.into_iter()
        .flat_map(|(left, right, y)| [(left, y), (right, y), (left, y + 1), (right, y + 1)])
}

fn fitting_rectangle(corners: Vec<Point>) -> Region {
    let upright = upright_rectangle(&corners);
    match smallest_rectangle(corners) {
        Some(turned) if turned.angle.abs() >= UPRIGHT_WITHIN_RADIANS => turned,
        _ => upright,
    }
}

/// The region as it is to be cut: inside the picture and at whole pixels when it is upright, and
/// with its width along the line when the line reads downwards.
fn readable(region: Region, picture_width: usize, picture_height: usize) -> Region {
    let region = if region.angle == 0.0 {
        let (left, top) = (region.x.floor().max(0.0), region.y.floor().max(0.0));
        let right = (region.x + region.width).ceil().min(picture_width as f64);
        let bottom = (region.y + region.height).ceil().min(picture_height as f64);
        Region::upright(left, top, right - left, bottom - top)
    } else {
        region
    };
    if region.height < DOWNWARDS_RATIO * region.width {
        return region;
    }
    let shift = (region.height - region.width) / 2.0;
    Region {
        x: region.x - shift,
        y: region.y + shift,
        width: region.height,
        height: region.width,
        angle: region.angle + FRAC_PI_2,
    }
}

/// From top to bottom, and from left to right where boxes stand in one line.
fn in_reading_order(mut boxes: Vec<TextBox>) -> Vec<TextBox> {
    let middle = |text: &TextBox| text.region.y + text.region.height / 2.0;
    boxes.sort_by(|a, b| middle(a).total_cmp(&middle(b)));
    let mut ordered: Vec<TextBox> = Vec::with_capacity(boxes.len());
    while let Some(first) = boxes.first() {
        let line_end = middle(first) + first.region.height / 2.0;
        let n_in_line = boxes.partition_point(|text| middle(text) < line_end).max(1);
        let mut line: Vec<TextBox> = boxes.drain(..n_in_line).collect();
        line.sort_by(|a, b| a.region.x.total_cmp(&b.region.x));
        ordered.append(&mut line);
    }
    ordered
}

/// What a recogniser reads in one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Classes in reading order, without blanks and repetitions.
    pub indices: Vec<u32>,
    /// The mean score of the classes read; 0 when nothing is.
    pub score: f32,
}

/// The best class of each step, with repetitions and then blanks (class 0) taken out (connectionist
/// temporal classification, Graves et al., 2006).
///
/// scores: f32 [n, t, c] or [t, c], n pictures, t steps, c classes.
///
/// # Errors
/// `DTYPE_MISMATCH` or `SHAPE_MISMATCH` for other scores.
pub fn ctc_greedy(scores: &Tensor) -> Result<Vec<Reading>> {
    const AT: &str = "ctc scores";
    let elements = scores
        .elements::<f32>()
        .ok_or_else(|| Error::dtype(AT, format!("they are {}, expected f32", scores.dtype())))?;
    let (n, t, c) = match *scores.sizes() {
        [t, c] if c > 0 => (1, t, c),
        [n, t, c] if c > 0 => (n, t, c),
        _ => {
            let why = format!("they are {:?}, expected [n, t, c]", scores.sizes());
            return Err(Error::shape(AT, why));
        }
    };
    if t == 0 {
        return Err(Error::shape(AT, "there are no steps"));
    }
    debug_assert_eq!(elements.len(), n * t * c);
    let pictures = elements.chunks_exact(t * c);
    Ok(pictures.map(|steps| read_steps(steps, c)).collect())
}

fn read_steps(steps: &[f32], n_classes: usize) -> Reading {
    let mut indices = Vec::new();
    let mut sum = 0.0;
    let mut previous = 0;
    for step in steps.chunks_exact(n_classes) {
        let best = step.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let (class, score) = best.expect("a step has classes");
        if class != previous && class != 0 {
            indices.push(u32::try_from(class).expect("classes are counted in 32 bits"));
            sum += score;
        }
        previous = class;
    }
    let score = if indices.is_empty() {
        0.0
    } else {
        sum / indices.len() as f32
    };
    Reading { indices, score }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 60;
    const HEIGHT: usize = 40;

    /// A map with the pixels for which `is_text` holds at 0.9.
    fn map(is_text: impl Fn(f64, f64) -> bool) -> Tensor {
        let probability = |idx: usize| {
            let (x, y) = ((idx % WIDTH) as f64 + 0.5, (idx / WIDTH) as f64 + 0.5);
            if is_text(x, y) { 0.9 } else { 0.1 }
        };
        let values: Vec<f32> = (0..WIDTH * HEIGHT).map(probability).collect();
        Tensor::from_vec(&[1, 1, HEIGHT, WIDTH], values).unwrap()
    }

    fn within(x: f64, y: f64, left: f64, top: f64, width: f64, height: f64) -> bool {
        (left..left + width).contains(&x) && (top..top + height).contains(&y)
    }

    #[test]
    fn boxes_grow_by_area_over_perimeter() {
        let map = map(|x, y| within(x, y, 20.0, 10.0, 20.0, 5.0));
        let boxes = text_boxes(&map, &TextBoxOptions::default()).unwrap();
        // 20 * 5 * 1.5 / 50 = 3 on each side.
        assert_eq!(boxes.len(), 1);
        assert_eq!(boxes[0].region, Region::upright(17.0, 7.0, 26.0, 11.0));
        assert!((boxes[0].score - 0.9).abs() < 1e-6);
    }

    #[test]
    fn boxes_are_in_the_pictures_pixels_and_inside_it() {
        let map = map(|x, y| within(x, y, 0.0, 0.0, 20.0, 5.0));
        let options = TextBoxOptions {
            picture_size: Some((120, 80)),
            ..TextBoxOptions::default()
        };
        let boxes = text_boxes(&map, &options).unwrap();
        assert_eq!(boxes[0].region, Region::upright(0.0, 0.0, 46.0, 16.0));
    }

    #[test]
    fn a_tilted_line_gives_a_tilted_box() {
        let angle = 20_f64.to_radians();
        let (sin, cos) = angle.sin_cos();
        let tilted = map(|x, y| {
            let (x, y) = (x - 30.0, y - 20.0);
            (x * cos + y * sin).abs() < 18.0 && (y * cos - x * sin).abs() < 4.0
        });
        let boxes = text_boxes(&tilted, &TextBoxOptions::default()).unwrap();
        assert_eq!(boxes.len(), 1);
        let region = boxes[0].region;
        assert!((region.angle - angle).abs() < 0.1, "{region:?}");
        assert!(
            (region.x + region.width / 2.0 - 30.0).abs() < 1.0,
            "{region:?}"
        );
    }

    #[test]
    fn a_line_that_reads_downwards_is_as_wide_as_it_is_long() {
        let map = map(|x, y| within(x, y, 28.0, 8.0, 4.0, 24.0));
        let region = text_boxes(&map, &TextBoxOptions::default()).unwrap()[0].region;
        assert_eq!(region.angle, FRAC_PI_2);
        assert!(region.width > 2.0 * region.height, "{region:?}");
        assert_eq!(region.x + region.width / 2.0, 30.0);
        assert_eq!(region.y + region.height / 2.0, 20.0);
    }

    #[test]
    fn boxes_come_in_reading_order() {
        let map = map(|x, y| {
            within(x, y, 40.0, 4.0, 12.0, 6.0)
                || within(x, y, 5.0, 6.0, 12.0, 6.0)
                || within(x, y, 5.0, 26.0, 12.0, 6.0)
        });
        let boxes = text_boxes(&map, &TextBoxOptions::default()).unwrap();
        let places: Vec<_> = boxes
            .iter()
            .map(|text| (text.region.x, text.region.y))
            .collect();
        assert_eq!(places.len(), 3);
        assert!(
            places[0].0 < places[1].0 && places[1].1 < places[2].1,
            "{places:?}"
        );
    }

    #[test]
    fn noise_and_doubt_are_no_text() {
        let specks = map(|x, y| within(x, y, 10.0, 10.0, 20.0, 2.0));
        assert_eq!(text_boxes(&specks, &TextBoxOptions::default()).unwrap(), []);
        let doubtful = Tensor::from_vec(&[HEIGHT, WIDTH], vec![0.5_f32; WIDTH * HEIGHT]).unwrap();
        assert_eq!(
            text_boxes(&doubtful, &TextBoxOptions::default()).unwrap(),
            []
        );
        let nothing = Tensor::from_vec(&[0, 0], Vec::<f32>::new()).unwrap();
        assert_eq!(
            text_boxes(&nothing, &TextBoxOptions::default()).unwrap(),
            []
        );
    }

    #[test]
    fn the_number_of_boxes_is_bounded() {
        let map = map(|x, y| x % 6.0 < 4.0 && y % 6.0 < 4.0);
        let options = TextBoxOptions {
            max_boxes: 5,
            ..TextBoxOptions::default()
        };
        assert_eq!(text_boxes(&map, &options).unwrap().len(), 5);
    }

    #[test]
    fn impossible_options_are_refused() {
        let map = map(|_, _| true);
        for (unclip_ratio, picture_size) in [(f64::NAN, None), (-1.0, None), (1.5, Some((0, 9)))] {
            let options = TextBoxOptions {
                unclip_ratio,
                picture_size,
                ..TextBoxOptions::default()
            };
            let refused = text_boxes(&map, &options).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn other_maps_are_refused() {
        let refused = |map: &Tensor| {
            text_boxes(map, &TextBoxOptions::default())
                .unwrap_err()
                .kind
        };
        assert_eq!(refused(&Tensor::vector(&[1_u8])), ErrorKind::DtypeMismatch);
        assert_eq!(
            refused(&Tensor::vector(&[1.0_f32])),
            ErrorKind::ShapeMismatch
        );
        let two = Tensor::from_vec(&[2, 1, 1], vec![1.0_f32; 2]).unwrap();
        assert_eq!(refused(&two), ErrorKind::ShapeMismatch);
    }

    /// One step per number, that class at 0.8.
    fn steps(classes: &[usize]) -> Tensor {
        let mut scores = vec![0.1_f32; classes.len() * 4];
        for (step, class) in classes.iter().enumerate() {
            scores[step * 4 + class] = 0.8;
        }
        Tensor::from_vec(&[1, classes.len(), 4], scores).unwrap()
    }

    #[test]
    fn repetitions_merge_unless_a_blank_parts_them() {
        let reading = &ctc_greedy(&steps(&[0, 2, 2, 0, 2, 3, 3, 1, 0])).unwrap()[0];
        assert_eq!(reading.indices, [2, 2, 3, 1]);
        assert!((reading.score - 0.8).abs() < 1e-6);
    }

    #[test]
    fn blanks_alone_read_as_nothing() {
        let reading = &ctc_greedy(&steps(&[0, 0])).unwrap()[0];
        assert_eq!((reading.indices.len(), reading.score), (0, 0.0));
    }

    #[test]
    fn other_scores_are_refused() {
        let refused = |scores: &Tensor| ctc_greedy(scores).unwrap_err().kind;
        assert_eq!(refused(&Tensor::scalar(1_i32)), ErrorKind::DtypeMismatch);
        assert_eq!(refused(&Tensor::scalar(1.0_f32)), ErrorKind::ShapeMismatch);
        let none = Tensor::from_vec(&[1, 0, 4], Vec::<f32>::new()).unwrap();
        assert_eq!(refused(&none), ErrorKind::ShapeMismatch);
        let none = Tensor::from_vec(&[2, 3, 0], Vec::<f32>::new()).unwrap();
        assert_eq!(refused(&none), ErrorKind::ShapeMismatch);
    }
}
