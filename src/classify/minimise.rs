//! Limited-memory BFGS: here is a smooth function with its gradient and a start, give me a point where it is least.
//!
//! Two-loop recursion (Nocedal and Wright, "Numerical Optimization", 2nd edition, algorithm 7.4) with a bisecting line
//! search for the weak Wolfe conditions (Lewis and Overton, "Nonsmooth optimization via quasi-Newton methods", 2013).
//! For convex functions; on others it finds a stationary point.

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Steps at most.
    pub steps: usize,
    /// Largest absolute entry of the gradient that counts as none.
    pub gradient: f64,
    /// Fall of the value in one step, relative to the value, that counts as none.
    pub fall: f64,
}

/// Steps whose curvature is remembered.
const MEMORY: usize = 8;
/// Share of the fall foretold by the slope that a step must bring.
const ENOUGH_FALL: f64 = 1e-4;
/// Share of the slope that a step may leave.
const SLOPE_LEFT: f64 = 0.9;
/// Tries of one line search. Twenty halvings reach the rounding of the values.
const TRIES: usize = 20;

/// One step, its change of the gradient, and one over their product.
struct Curvature {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse_product: f64,
}

/// Walks downhill from `point` and returns where it stopped.
///
/// `function(point, gradient)` fills the gradient and returns the value. `precondition` replaces a gradient by about
/// the inverse of the curvature times it; doing nothing is allowed.
pub(super) fn minimise(
    mut point: Vec<f64>,
    stop: Stop,
    precondition: impl Fn(&mut [f64]),
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Vec<f64> {
    let mut gradient = vec![0.0; point.len()];
    let mut value = function(&point, &mut gradient);
    let mut memory: Vec<Curvature> = Vec::with_capacity(MEMORY);
    let (mut next_point, mut next_gradient) = (point.clone(), gradient.clone());
    for _ in 0..stop.steps {
        if largest(&gradient) <= stop.gradient || !value.is_finite() {
            break;
        }
        let mut direction = newton_like(&gradient, &memory, &precondition);
        let mut slope = dot(&direction, &gradient);
        if slope.is_nan() || slope >= 0.0 {
            memory.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }

        let mut length = if memory.is_empty() { (1.0 / largest(&direction)).min(1.0) } else { 1.0 };
        let (mut shortest, mut longest) = (0.0, f64::INFINITY);
        let mut next_value = f64::INFINITY;
        for _ in 0..TRIES {
            for ((next, at), along) in next_point.iter_mut().zip(&point).zip(&direction) {
                *next = at + length * along;
            }
            next_value = function(&next_point, &mut next_gradient);
            if next_value.is_nan() || next_value > value + ENOUGH_FALL * length * slope {
                longest = length;
            } else if dot(&direction, &next_gradient) < SLOPE_LEFT * slope {
                shortest = length;
            } else {
                break;
            }
            length = if longest.is_finite() { 0.5 * (shortest + longest) } else { 2.0 * length };
        }
        if next_value.is_nan() || next_value >= value {
            break; // Rounding hides any further fall.
        }

        let step: Vec<f64> = next_point.iter().zip(&point).map(|(next, at)| next - at).collect();
        let change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(next, at)| next - at).collect();
        let product = dot(&step, &change);
        if product > 1e-12 * dot(&change, &change) {
            if memory.len() == MEMORY {
                memory.remove(0);
            }
            memory.push(Curvature { step, change, inverse_product: 1.0 / product });
        }
        let fall = value - next_value;
        std::mem::swap(&mut point, &mut next_point);
        std::mem::swap(&mut gradient, &mut next_gradient);
        value = next_value;
        if fall <= stop.fall * value.abs() {
            break;
        }
    }
    point
}

/// The downhill direction: minus the remembered inverse curvature times the gradient.
fn newton_like(gradient: &[f64], memory: &[Curvature], precondition: &impl Fn(&mut [f64])) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = vec![0.0; memory.len()];
    for (pair, share) in memory.iter().zip(&mut shares).rev() {
        *share = pair.inverse_product * dot(&pair.step, &direction);
        add(&mut direction, -*share, &pair.change);
    }
    precondition(&mut direction);
    if let Some(last) = memory.last() {
        let mut curved = last.change.clone();
        precondition(&mut curved);
        let scale = 1.0 / (last.inverse_product * dot(&last.change, &curved));
        direction.iter_mut().for_each(|value| *value *= scale);
    }
    for (pair, share) in memory.iter().zip(&shares) {
        let correction = share - pair.inverse_product * dot(&pair.change, &direction);
        add(&mut direction, correction, &pair.step);
    }
    direction
}

fn add(to: &mut [f64], factor: f64, values: &[f64]) {
    for (to, value) in to.iter_mut().zip(values) {
        *to += factor * value;
    }
}

/// `a · b` in four running sums, so that the processor need not wait for each.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (a, b) in a4.iter().zip(b4) {
        for k in 0..4 {
            sums[k] += a[k] * b[k];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| value.abs().max(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Stop = Stop { steps: 500, gradient: 1e-8, fall: 0.0 };

    #[test]
    fn finds_the_valley_of_rosenbrock() {
        let found = minimise(
            vec![-1.2, 1.0],
            STOP,
            |_| {},
            |at, gradient| {
                let (x, y) = (at[0], at[1]);
                gradient[0] = -400.0 * x * (y - x * x) - 2.0 * (1.0 - x);
                gradient[1] = 200.0 * (y - x * x);
                100.0 * (y - x * x).powi(2) + (1.0 - x).powi(2)
            },
        );
        assert!((found[0] - 1.0).abs() < 1e-6 && (found[1] - 1.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn a_preconditioner_solves_a_stretched_bowl_in_few_calls() {
        let curvatures: Vec<f64> = (0..40).map(|i| 1.5f64.powi(i)).collect();
        let mut calls = 0;
        let precondition = |values: &mut [f64]| {
            for (value, curvature) in values.iter_mut().zip(&curvatures) {
                *value /= curvature;
            }
        };
        let found = minimise(vec![1.0; 40], STOP, precondition, |at, gradient| {
            calls += 1;
            for ((gradient, at), curvature) in gradient.iter_mut().zip(at).zip(&curvatures) {
                *gradient = at * curvature;
            }
            0.5 * dot(at, gradient)
        });
        assert!(largest(&found) < 1e-6 && calls < 10, "{calls} calls");
    }

    #[test]
    fn stays_where_the_function_is_not_finite() {
        assert_eq!(minimise(vec![1.0], STOP, |_| {}, |_, _| f64::NAN), [1.0]);
    }
}
