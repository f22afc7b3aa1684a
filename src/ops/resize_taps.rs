//! Where `Resize` samples: for each place of an axis of the output, places of the input and their
//! weights.

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    HalfPixelForNearest,
    Crop,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Filter {
    Nearest(Rounding),
    Linear,
    /// With the coefficient.
    Cubic(f32),
}

/// How axes are sampled.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    pub coordinates: Coordinates,
    pub filter: Filter,
    pub exclude_outside: bool,
    pub antialias: bool,
}

/// One axis: sizes before and after, the scale, and the ends of the region of interest as shares
/// of the axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub x: usize,
    pub y: usize,
    pub scale: f32,
    pub region: (f32, f32),
}

impl Sampling {
    /// The place in the input of place `o` of the output, in f32 as ONNX Runtime counts: what lies
    /// halfway between two elements goes where that rounds it.
    fn place(&self, axis: &Axis, o: usize) -> f32 {
        let (n, count) = (axis.x as f32, axis.y as f32);
        let o = o as f32;
        match self.coordinates {
            Coordinates::HalfPixel => (o + 0.5) / axis.scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let share = count / (axis.scale * n);
                n / 2.0 * (1.0 - share) + (o + 0.5) / axis.scale - 0.5
            }
            Coordinates::PytorchHalfPixel if axis.y <= 1 => 0.0,
            Coordinates::PytorchHalfPixel => (o + 0.5) / axis.scale - 0.5,
            Coordinates::AlignCorners if axis.y <= 1 => 0.0,
            Coordinates::AlignCorners => o * (n - 1.0) / (count - 1.0),
            Coordinates::Asymmetric => o / axis.scale,
            Coordinates::HalfPixelForNearest => (o + 0.5) / axis.scale,
            Coordinates::Crop => {
                let (start, end) = axis.region;
                if axis.y > 1 {
                    start * (n - 1.0) + o * (end - start) * (n - 1.0) / (count - 1.0)
                } else {
                    0.5 * (start + end) * (n - 1.0)
                }
            }
        }
    }

    /// For each place of the output as many places and weights; `None` for a place outside of the
    /// input, which has the value for extrapolation.
    pub fn taps(&self, axis: &Axis) -> Vec<Option<Vec<(usize, f32)>>> {
        let places = (0..axis.y).map(|o| {
            let place = self.place(axis, o);
            let outside = place < 0.0 || place > axis.x as f32 - 1.0;
            if self.coordinates == Coordinates::Crop && outside {
                return None;
            }
            Some(self.around(axis, place))
        });
        places.collect()
    }

    fn around(&self, axis: &Axis, place: f32) -> Vec<(usize, f32)> {
        let last = axis.x as i64 - 1;
        if let Filter::Nearest(rounding) = self.filter {
            let nearest = match rounding {
                Rounding::PreferFloor => (place - 0.5).ceil(),
                // Negative halves go the other way, and are cut off below.
                Rounding::PreferCeil => place.round(),
                Rounding::Floor => place.floor(),
                Rounding::Ceil => place.ceil(),
            };
            return vec![((nearest as i64).clamp(0, last) as usize, 1.0)];
        }
        // A filter that is to smooth spans what becomes one element.
        let squeeze = if self.antialias {
            axis.scale.min(1.0)
        } else {
            1.0
        };
        let support = match self.filter {
            Filter::Cubic(_) => 2.0,
            _ => 1.0,
        } / squeeze;
        let (first, n) = if self.antialias {
            // All of one number, wherever the place is between two elements.
            let n = (2.0 * support).ceil() as i64 + 1;
            ((place - support + 1.0).floor() as i64, n)
        } else {
            let n = 2 * support as i64;
            (place.floor() as i64 - (support as i64 - 1), n)
        };
        let mut taps = Vec::new();
        for idx in first..first + n {
            let mut weight = self.weight((idx as f32 - place) * squeeze);
            if self.exclude_outside && !(0..=last).contains(&idx) {
                weight = 0.0;
            }
            taps.push((idx.clamp(0, last) as usize, weight));
        }
        let total: f32 = taps.iter().map(|(_, weight)| weight).sum();
        if total != 0.0 && (self.exclude_outside || self.antialias) {
            for (_, weight) in &mut taps {
                *weight /= total;
            }
        }
        taps
    }

    fn weight(&self, distance: f32) -> f32 {
        let d = distance.abs();
        match self.filter {
            Filter::Cubic(a) if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
            Filter::Cubic(a) if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
            Filter::Cubic(_) => 0.0,
            _ => (1.0 - d).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taps(
        filter: Filter,
        coordinates: Coordinates,
        x: usize,
        y: usize,
    ) -> Vec<Vec<(usize, f32)>> {
        let sampling = Sampling {
            coordinates,
            filter,
            exclude_outside: false,
            antialias: false,
        };
        let axis = Axis {
            x,
            y,
            scale: y as f32 / x as f32,
            region: (0.0, 1.0),
        };
        let taps = sampling.taps(&axis).into_iter();
        taps.map(|taps| taps.expect("nothing is cropped")).collect()
    }

    #[test]
    fn halves_go_where_they_are_told() {
        let places = |rounding, coordinates| {
            let taps = taps(Filter::Nearest(rounding), coordinates, 2, 4);
            taps.iter().map(|taps| taps[0].0).collect::<Vec<usize>>()
        };
        let asymmetric = Coordinates::Asymmetric;
        assert_eq!(places(Rounding::PreferFloor, asymmetric), [0, 0, 1, 1]);
        assert_eq!(places(Rounding::PreferCeil, asymmetric), [0, 1, 1, 1]);
        assert_eq!(places(Rounding::Floor, asymmetric), [0, 0, 1, 1]);
        assert_eq!(places(Rounding::Ceil, asymmetric), [0, 1, 1, 1]);
        assert_eq!(
            places(Rounding::Floor, Coordinates::HalfPixel),
            [0, 0, 0, 1]
        );
    }

    #[test]
    fn linear_weights_follow_the_place() {
        let taps = taps(Filter::Linear, Coordinates::HalfPixel, 2, 4);
        assert_eq!(taps[0], [(0, 0.25), (0, 0.75)]);
        assert_eq!(taps[1], [(0, 0.75), (1, 0.25)]);
        assert_eq!(taps[3], [(1, 0.75), (1, 0.25)]);
    }

    #[test]
    fn weights_sum_to_one() {
        for (filter, antialias) in [
            (Filter::Linear, true),
            (Filter::Cubic(-0.75), false),
            (Filter::Cubic(-0.75), true),
        ] {
            let sampling = Sampling {
                coordinates: Coordinates::HalfPixel,
                filter,
                exclude_outside: antialias,
                antialias,
            };
            let axis = Axis {
                x: 11,
                y: 4,
                scale: 4.0 / 11.0,
                region: (0.0, 1.0),
            };
            for taps in sampling.taps(&axis).into_iter().flatten() {
                let sum: f32 = taps.iter().map(|(_, weight)| weight).sum();
                assert!((sum - 1.0).abs() < 1e-6, "{taps:?}");
            }
        }
    }
}
