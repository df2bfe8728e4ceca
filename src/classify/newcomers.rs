//! Here are probabilities over the labels that a head knows and votes of neighbours for labels younger than it, make room
//! for the younger ones.

use super::neighbours::log_votes;

/// Gives `votes` their share: the probability of each label from `known` on is its share of the neighbours' votes, and
/// the known labels keep the rest in their proportions. `votes` are (label, cosine), nearest first, all labels counted;
/// `labels` is how many there are. No number that comes of it was calibrated.
pub(super) fn make_room(probabilities: &mut Vec<f32>, votes: &[(u32, f32)], labels: usize) {
    let known = probabilities.len();
    if labels <= known {
        return;
    }
    let shares: Vec<f32> = log_votes(votes, &vec![0; labels]).into_iter().map(f32::exp).collect();
    // What no neighbour votes for gets nothing: the smoothing of the votes says nothing about a label without tickets.
    let has_vote = |label: usize| votes.iter().any(|&(voted, _)| voted as usize == label);
    let young: Vec<f32> = (known..labels).map(|label| if has_vote(label) { shares[label] } else { 0.0 }).collect();
    let rest = 1.0 - young.iter().sum::<f32>();
    probabilities.iter_mut().for_each(|probability| *probability *= rest);
    probabilities.extend(young);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_examples_of_a_young_label_outvote_the_known_ones() {
        let mut probabilities = vec![0.7, 0.3];
        make_room(&mut probabilities, &[(2, 0.8), (2, 0.78), (2, 0.75), (0, 0.4), (1, 0.39)], 4);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(probabilities[2] > 0.7 && probabilities[3] == 0.0, "{probabilities:?}");
        assert!((probabilities[0] / probabilities[1] - 0.7 / 0.3).abs() < 1e-4);
    }

    #[test]
    fn without_a_vote_nothing_changes() {
        let mut probabilities = vec![0.7, 0.3];
        make_room(&mut probabilities, &[(0, 0.8)], 3);
        assert_eq!(probabilities, [0.7, 0.3, 0.0]);
        make_room(&mut probabilities, &[], 2);
        assert_eq!(probabilities.len(), 3);
    }
}
