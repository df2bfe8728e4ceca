//! Here are the nearest tickets with their cosines, tell me which report the same thing.

use crate::ticket::Duplicate;

/// Slope and intercept of the logistic curve that turns the mixed centred cosine of two tickets into the probability
/// that both report the same thing. Fitted on the three nearest reports of each of 1,380 bug reports (4,140 pairs, 140 of
/// them linked as duplicates by their project). Pairs that are the same and that nobody linked count against it, so it
/// errs on the low side: even equal texts have 0.39.
const CURVE: (f32, f32) = (5.61, -6.05);

/// A duplicate is proposed from this probability on, a cosine of about 0.93: silence is better than a wrong hint.
const LEAST_PROBABILITY: f32 = 0.3;

/// At most this many are proposed.
const MOST: usize = 3;

/// Probability, 0 to 1, that two tickets with this mixed centred cosine report the same thing.
pub fn probability(cosine: f32) -> f32 {
    1.0 / (1.0 + (-(CURVE.0 * cosine + CURVE.1)).exp())
}

/// Proposes duplicates among `(id, mixed centred cosine)`, most probable first.
pub fn duplicates<'a>(nearest: impl IntoIterator<Item = (&'a str, f32)>) -> Vec<Duplicate> {
    let mut found: Vec<Duplicate> = nearest
        .into_iter()
        .map(|(id, cosine)| Duplicate { id: id.to_owned(), probability: probability(cosine) })
        .filter(|duplicate| duplicate.probability >= LEAST_PROBABILITY)
        .collect();
    found.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.id.cmp(&b.id)));
    found.truncate(MOST);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_tickets_are_proposed_most_probable_first() {
        let found = duplicates([("far", 0.2), ("near", 0.95), ("twin", 0.99), ("far too", 0.8)]);
        let ids: Vec<&str> = found.iter().map(|duplicate| duplicate.id.as_str()).collect();
        assert_eq!(ids, ["twin", "near"]);
        assert!(found[0].probability > found[1].probability && found[0].probability <= 1.0);
    }

    #[test]
    fn probability_rises_with_the_cosine() {
        let curve: Vec<f32> = (-10..=10).map(|step| probability(step as f32 / 10.0)).collect();
        assert!(curve.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
