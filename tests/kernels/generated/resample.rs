//! Pictures in other sizes and at other places.

use sentinel_inference::tensor::DType;

use super::case::{Case, attr, list, real, word};

const TRANSFORMS: &[&str] = &[
    "half_pixel",
    "asymmetric",
    "pytorch_half_pixel",
    "align_corners",
    "half_pixel_symmetric",
];

/// Against the cpu where it has the mode; where several axes change, against one after the other.
pub fn resize(case: &mut Case) {
    let dtype = case.float_type();
    let rank = case.pick(&[1, 2, 3]);
    let spatial: Vec<usize> = (0..rank).map(|_| case.size(17)).collect();
    let sizes = [vec![case.pick(&[1, 2]), case.size(5)], spatial.clone()].concat();
    let mode = case.pick(&["nearest", "linear", "linear", "cubic"]);
    let mut given = vec![
        word("mode", mode),
        word("coordinate_transformation_mode", case.pick(TRANSFORMS)),
    ];
    if mode == "nearest" {
        let rounding = case.pick(&["round_prefer_floor", "floor", "ceil", "round_prefer_ceil"]);
        given.push(word("nearest_mode", rounding));
    } else {
        given.push(attr("antialias", u8::from(case.chance(3))));
    }
    if mode == "cubic" {
        given.push(real("cubic_coeff_a", case.pick(&[-0.75, -0.5])));
        given.push(attr("exclude_outside", u8::from(case.chance(2))));
    }
    let x = case.of(dtype, &sizes);
    let targets: Vec<usize> = spatial
        .iter()
        .map(|&size| match case.random.below(4) {
            0 => size,
            1 => 2 * size,
            // Elsewhere what is nearest hangs on the last bit of a coordinate.
            _ if mode == "nearest" => 4 * size,
            2 => size.div_ceil(2),
            _ => case.size(33),
        })
        .collect();
    let by_scales = case.chance(3);
    let step = |case: &mut Case, x: &str, now: &[usize], target: &[usize]| {
        let both = now.iter().zip(target);
        if by_scales {
            let scales: Vec<f32> = both
                .map(|(&now, &target)| target as f32 / now as f32)
                .collect();
            let scales = case.floats(&[vec![1.0, 1.0], scales].concat());
            return case.node("Resize", &[x, "_", &scales], &given);
        }
        let target: Vec<i64> = sizes[..2]
            .iter()
            .chain(target)
            .map(|&size| size as i64)
            .collect();
        let target = case.ints(&target);
        case.node("Resize", &[x, "_", "_", &target], &given)
    };
    let y = step(case, &x, &spatial, &targets);
    case.output(&y);
    if by_scales || dtype == DType::F16 {
        return;
    }
    let mut now = spatial;
    let mut z = x;
    for axis in case.permutation(rank) {
        let mut next = now.clone();
        next[axis] = targets[axis];
        z = step(case, &z, &now, &next);
        now = next;
    }
    case.output(&z);
    case.is_pair = true;
}

pub fn grid_sample(case: &mut Case) {
    let dtype = case.float_type();
    let n = case.pick(&[1, 2]);
    let sizes = [n, case.size(5), case.size(9), case.size(17)];
    let places = [n, case.size(9), case.size(17), 2];
    let x = case.of(dtype, &sizes);
    let grid = case.tensor_of(dtype, &places, (-21, 21), 16.0);
    let grid = case.value(grid);
    let given = [
        word("mode", case.pick(&["linear", "linear", "cubic", "nearest"])),
        word(
            "padding_mode",
            case.pick(&["zeros", "border", "reflection"]),
        ),
        attr("align_corners", u8::from(case.chance(2))),
    ];
    let y = case.node("GridSample", &[&x, &grid], &given);
    case.output(&y);
    // Rows and columns in each other's place.
    let x = case.node("Transpose", &[&x], &[list("perm", &[0, 1, 3, 2])]);
    let (axes, steps) = (case.ints(&[-1]), case.ints(&[-1]));
    let (from, to) = (case.ints(&[-1]), case.ints(&[i64::MIN]));
    let grid = case.node("Slice", &[&grid, &from, &to, &axes, &steps], &[]);
    let z = case.node("GridSample", &[&x, &grid], &given);
    case.output(&z);
    case.is_pair = true;
}
