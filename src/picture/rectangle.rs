//! The smallest rectangle around points, at any angle.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4};

use super::Region;

pub type Point = (f64, f64);

/// The smallest rectangle around points, its width along the axis that is nearer to horizontal;
/// `None` without points. One side of it lies on a side of the convex hull (Freeman and Shapira,
/// 1975).
pub fn smallest_rectangle(points: Vec<Point>) -> Option<Region> {
    let hull = convex_hull(points);
    let next = hull.iter().cycle().skip(1);
    let along_sides = hull.iter().zip(next).map(|(from, to)| {
        let angle = (to.1 - from.1).atan2(to.0 - from.0);
        // A quarter turn gives the same rectangle: keep within an eighth of horizontal.
        let quarters = (angle / FRAC_PI_2).round();
        rectangle_at(&hull, angle - quarters * FRAC_PI_2)
    });
    along_sides.min_by(|a, b| area(a).total_cmp(&area(b)))
}

/// The smallest upright rectangle around points.
pub fn upright_rectangle(points: &[Point]) -> Region {
    rectangle_at(points, 0.0)
}

pub fn area(region: &Region) -> f64 {
    region.width * region.height
}

fn rectangle_at(points: &[Point], angle: f64) -> Region {
    debug_assert!(angle.abs() <= FRAC_PI_4 + 1e-9);
    let (sin, cos) = angle.sin_cos();
    let range = |along: &dyn Fn(&Point) -> f64| {
        let values = points.iter().map(along);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    let (left, right) = range(&|(x, y)| x * cos + y * sin);
    let (upper, lower) = range(&|(x, y)| y * cos - x * sin);
    let (width, height) = (right - left, lower - upper);
    let (along, across) = ((left + right) / 2.0, (upper + lower) / 2.0);
    Region {
        x: along * cos - across * sin - width / 2.0,
        y: along * sin + across * cos - height / 2.0,
        width,
        height,
        angle,
    }
}

/// Andrew's monotone chain.
fn convex_hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    points.dedup();
    if points.len() < 3 {
        return points;
    }
    let mut hull = chain(points.iter());
    hull.extend(chain(points.iter().rev()));
    hull
}

/// One side of the hull, without its last point, which the other side starts with.
fn chain<'a>(points: impl Iterator<Item = &'a Point>) -> Vec<Point> {
    let mut side: Vec<Point> = Vec::new();
    for &point in points {
        while let [.., a, b] = side[..]
            && (b.0 - a.0) * (point.1 - a.1) - (b.1 - a.1) * (point.0 - a.0) <= 0.0
        {
            side.pop();
        }
        side.push(point);
    }
    side.pop();
    side
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(region: &Region, expected: [f64; 5]) {
        let Region {
            x,
            y,
            width,
            height,
            angle,
        } = *region;
        for (got, expected) in [x, y, width, height, angle].iter().zip(expected) {
            assert!((got - expected).abs() < 1e-9, "{region:?}");
        }
    }

    #[test]
    fn an_upright_box_is_found_upright() {
        let points = vec![(1.0, 1.0), (5.0, 1.0), (5.0, 3.0), (1.0, 3.0), (2.0, 2.0)];
        close(&upright_rectangle(&points), [1.0, 1.0, 4.0, 2.0, 0.0]);
        close(
            &smallest_rectangle(points).unwrap(),
            [1.0, 1.0, 4.0, 2.0, 0.0],
        );
    }

    #[test]
    fn a_turned_box_keeps_its_size_and_angle() {
        for degrees in [-40.0, -10.0, 5.0, 30.0, 44.0_f64] {
            let angle = degrees.to_radians();
            let (sin, cos) = angle.sin_cos();
            let corner = |x: f64, y: f64| (50.0 + x * cos - y * sin, 40.0 + x * sin + y * cos);
            let corners = vec![
                corner(-10.0, -2.0),
                corner(10.0, -2.0),
                corner(10.0, 2.0),
                corner(-10.0, 2.0),
            ];
            let region = smallest_rectangle(corners).unwrap();
            close(&region, [40.0, 38.0, 20.0, 4.0, angle]);
        }
    }

    #[test]
    fn few_points_have_a_rectangle_too() {
        assert_eq!(smallest_rectangle(vec![]), None);
        close(
            &smallest_rectangle(vec![(3.0, 4.0)]).unwrap(),
            [3.0, 4.0, 0.0, 0.0, 0.0],
        );
        let line = smallest_rectangle(vec![(0.0, 0.0), (2.0, 2.0), (1.0, 1.0)]).unwrap();
        assert!((line.width.max(line.height) - 8.0_f64.sqrt()).abs() < 1e-9);
        assert!(area(&line) < 1e-9);
    }
}
