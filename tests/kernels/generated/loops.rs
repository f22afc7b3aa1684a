//! Plain loops for windows over any number of axes, which no other backend here computes beyond two.

use sentinel_inference::tensor::Tensor;

use super::case::numbers_of;

/// Sizes of one spatial axis.
#[derive(Clone, Copy)]
pub struct Window {
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub before: usize,
    pub after: usize,
}

impl Window {
    pub fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    pub fn n_places(&self) -> usize {
        (self.size + self.before + self.after - self.reach()) / self.stride + 1
    }

    /// The element that a place sees through a tap, or none where that is padding.
    fn seen(&self, place: usize, tap: usize) -> Option<usize> {
        let at = (place * self.stride + tap * self.dilation).checked_sub(self.before)?;
        (at < self.size).then_some(at)
    }
}

/// All places of a box of these sizes, in order.
fn places(sizes: &[usize]) -> Vec<Vec<usize>> {
    sizes.iter().fold(vec![Vec::new()], |lines, &size| {
        let longer = |line: Vec<usize>| {
            (0..size).map(move |place| line.iter().copied().chain([place]).collect())
        };
        lines.into_iter().flat_map(longer).collect()
    })
}

fn offset(place: &[usize], sizes: &[usize]) -> usize {
    place
        .iter()
        .zip(sizes)
        .fold(0, |at, (&place, &size)| at * size + place)
}

/// For each place of a window, the taps that see an element and the elements.
fn walk(axes: &[Window], mut visit: impl FnMut(usize, usize, usize)) {
    let sizes: Vec<usize> = axes.iter().map(|axis| axis.size).collect();
    let outer: Vec<usize> = axes.iter().map(Window::n_places).collect();
    let kernel: Vec<usize> = axes.iter().map(|axis| axis.kernel).collect();
    for (place_idx, place) in places(&outer).iter().enumerate() {
        for (tap_idx, tap) in places(&kernel).iter().enumerate() {
            let seen = axes.iter().zip(place.iter().zip(tap));
            let seen: Option<Vec<usize>> = seen
                .map(|(axis, (&place, &tap))| axis.seen(place, tap))
                .collect();
            if let Some(at) = seen {
                visit(place_idx, tap_idx, offset(&at, &sizes));
            }
        }
    }
}

/// x: [n, groups * c, ..], w: [m, c, ..], bias: [m] -> [n, m, ..]
pub fn conv(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, axes: &[Window]) -> Vec<f64> {
    let (n, channels, m, c) = (x.sizes()[0], x.sizes()[1], w.sizes()[0], w.sizes()[1]);
    let (x, w, bias) = (numbers_of(x), numbers_of(w), bias.map(numbers_of));
    let n_places: usize = axes.iter().map(Window::n_places).product();
    let n_inner: usize = axes.iter().map(|axis| axis.size).product();
    let n_taps: usize = axes.iter().map(|axis| axis.kernel).product();
    let features_per_group = m / (channels / c);
    let mut y = vec![0.0; n * m * n_places];
    for batch in 0..n {
        for feature in 0..m {
            let plane = &mut y[(batch * m + feature) * n_places..][..n_places];
            plane.fill(bias.as_ref().map_or(0.0, |bias| bias[feature]));
            for channel in 0..c {
                let own = feature / features_per_group * c + channel;
                let x = &x[(batch * channels + own) * n_inner..][..n_inner];
                let w = &w[(feature * c + channel) * n_taps..][..n_taps];
                walk(axes, |place, tap, at| plane[place] += x[at] * w[tap]);
            }
        }
    }
    y
}

/// The convolution's transpose, whose windows `axes` are: x: [n, groups * c, places of axes],
/// w: [groups * c, m, ..], bias: [groups * m] -> [n, groups * m, sizes of axes]
pub fn conv_transpose(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    groups: usize,
    axes: &[Window],
) -> Vec<f64> {
    let (n, channels, m) = (x.sizes()[0], x.sizes()[1], w.sizes()[1]);
    let (x, w, bias) = (numbers_of(x), numbers_of(w), bias.map(numbers_of));
    let n_places: usize = axes.iter().map(Window::n_places).product();
    let n_inner: usize = axes.iter().map(|axis| axis.size).product();
    let n_taps: usize = axes.iter().map(|axis| axis.kernel).product();
    let per_group = channels / groups;
    let mut y = vec![0.0; n * groups * m * n_inner];
    for batch in 0..n {
        for feature in 0..groups * m {
            let plane = &mut y[(batch * groups * m + feature) * n_inner..][..n_inner];
            plane.fill(bias.as_ref().map_or(0.0, |bias| bias[feature]));
            for channel in feature / m * per_group..(feature / m + 1) * per_group {
                let x = &x[(batch * channels + channel) * n_places..][..n_places];
                let w = &w[(channel * m + feature % m) * n_taps..][..n_taps];
                walk(axes, |place, tap, at| plane[at] += x[place] * w[tap]);
            }
        }
    }
    y
}

/// Of each window of each plane what `result` makes of its elements and of how many taps are
/// neither behind the padding at the end nor, with `counts_pads` unset, padding.
pub fn pool(
    x: &Tensor,
    axes: &[Window],
    n_places: &[usize],
    counts_pads: bool,
    result: impl Fn(&[f64], usize) -> f64,
) -> Vec<f64> {
    let x = numbers_of(x);
    let n_inner: usize = axes.iter().map(|axis| axis.size).product();
    let sizes: Vec<usize> = axes.iter().map(|axis| axis.size).collect();
    let kernel: Vec<usize> = axes.iter().map(|axis| axis.kernel).collect();
    let mut y = Vec::new();
    for plane in x.chunks(n_inner) {
        for place in places(n_places) {
            let (mut elements, mut count) = (Vec::new(), 0);
            for tap in places(&kernel) {
                let each = || axes.iter().zip(place.iter().zip(&tap));
                let at: Option<Vec<usize>> = each()
                    .map(|(axis, (&place, &tap))| axis.seen(place, tap))
                    .collect();
                let is_behind = each().any(|(axis, (&place, &tap))| {
                    place * axis.stride + tap * axis.dilation
                        >= axis.size + axis.before + axis.after
                });
                elements.extend(at.as_ref().map(|at| plane[offset(at, &sizes)]));
                count += usize::from(if counts_pads {
                    !is_behind
                } else {
                    at.is_some()
                });
            }
            y.push(result(&elements, count));
        }
    }
    y
}
